# Loads the program, answers the calls. Nothing that follows can be named by either.
my $evaluate = sub { package main; eval "package main;\n#line 1 \"call\"\n$_[0]" };

use strict;

my $nonce = pop @ARGV;
my ($largest, $nodes, $deepest) = (LARGEST_FRAME, 200_000, 100);
my ($left, $encode);
my $too_large = \'too large';
open(my $replies, '>&=', 3) or die "descriptor 3: $!";
open(my $file, '<', 'calls.hex') or die "calls.hex: $!";
my @calls = map { chomp; pack('H*', $_) } <$file>;
close $file;

my $send = sub {
  my ($index, $rest) = @_;
  my $line = "[$index,$rest]";
  $line = "[$index,\"big\"]" if length($line) > $largest;
  $line = "$nonce $line\n";
  while (length $line) {
    my $done = syswrite($replies, $line) or return;
    substr($line, 0, $done) = '';
  }
};

# A scalar is text: Perl itself does not tell 1 from "1", nor do the modules that compare its data.
my $text = sub {
  my $text = "$_[0]";
  utf8::encode($text) if utf8::is_utf8($text);
  $left -= length($text) >> 4;
  return '["y","' . unpack('H*', $text) . '"]';
};

$encode = sub {
  my ($value, $depth) = @_;
  die $too_large if --$left < 0 || $depth > $deepest;
  return 'null' if !defined $value;
  my $kind = ref $value;
  return $text->($value) if $kind eq '';
  return '[' . join(',', '"l"', map { $encode->($_, $depth + 1) } @$value) . ']' if $kind eq 'ARRAY';
  return '["o","' . ($kind =~ s/[^A-Za-z0-9_:]/?/gr) . '"]' if $kind ne 'HASH';
  my @pairs = map { '[' . $text->($_) . ',' . $encode->($value->{$_}, $depth + 1) . ']' } keys %$value;
  return '[' . join(',', '"d"', @pairs) . ']';
};

my $raised = sub {
  my ($index, $error) = @_;
  my $kind = ref $error || 'Error';
  $kind =~ s/[^A-Za-z0-9_:]/?/g;
  $send->($index, "\"err\",\"$kind\",1");
  syswrite(STDERR, substr(ref $error ? $kind : $error, 0, 2000)) if defined fileno(STDERR);
};

$0 = 'program.pl';
$@ = '';
do './program.pl';
if (my $error = $@) {
  $raised->(-1, $error);
  exit 1;
}
$send->(-1, '"ok"');

for my $index (0 .. $#calls) {
  $@ = '';
  my @values = $evaluate->($calls[$index]);
  if (ref $@ || $@ ne '') {
    my $error = $@;
    if (!ref $error && $error =~ /^Undefined subroutine \S+ called at call line/) {
      $send->($index, '"undefined"');
    } else {
      $raised->($index, $error);
    }
    next;
  }
  $left = $nodes;
  local $SIG{__DIE__};
  # In list context a call gives any number of values: nothing is undef, several are no value that a test expects.
  my $form = eval {
    @values > 1 ? '[' . join(',', '"t"', map { $encode->($_, 1) } @values) . ']' : $encode->($values[0], 0);
  };
  $send->($index, defined $form ? "\"val\",$form" : '"big"');
}
