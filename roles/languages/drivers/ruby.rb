# Loads the program, answers the calls. Methods that a program may well redefine are bound before it runs.
lambda do
  nonce = ARGV.pop
  calls = File.read("calls.hex").split("\n").map { |line| [line].pack("H*").force_encoding("UTF-8") }
  program = File.read("program.rb", encoding: "UTF-8")
  replies = IO.for_fd(3, "wb", autoclose: false)
  replies.sync = true
  largest, most_nodes, deepest = LARGEST_FRAME, 200_000, 100
  too_large = Class.new(StandardError)
  evaluate, leave = method(:eval), Process.method(:exit!)

  bound = lambda do |owner, name|
    method = owner.instance_method(name)
    ->(receiver, *arguments, **options) { method.bind_call(receiver, *arguments, **options) }
  end
  write, class_of, class_name = bound[IO, :write], bound[Kernel, :class], bound[Module, :name]
  variable, backtrace = bound[Kernel, :instance_variable_get], bound[Exception, :backtrace]
  message, digits, bits = bound[Exception, :full_message], bound[Integer, :to_s], bound[Integer, :bit_length]
  decimals, ratio, symbol_text = bound[Float, :to_s], bound[Rational, :to_f], bound[Symbol, :to_s]
  unpack, clean, bytesize = bound[String, :unpack1], bound[String, :gsub], bound[String, :bytesize]
  item, size, join = bound[Array, :[]], bound[Array, :length], bound[Array, :join]
  push, pack, pairs, keys = bound[Array, :push], bound[Array, :pack], bound[Hash, :to_a], bound[Hash, :keys]

  answer = lambda do |index, rest|
    line = "[#{digits[index]},#{rest}]"
    line = "[#{digits[index]},\"big\"]" if bytesize[line] > largest
    write[replies, "#{nonce} #{line}\n"]
  end

  left = 0
  encode = nil
  all = lambda do |tag, values, depth, key|
    parts, index = ["\"#{tag}\""], 0
    while index < size[values]
      push[parts, encode[item[values, index], depth + 1, key]]
      index += 1
    end
    "[#{join[parts, ","]}]"
  end
  table = lambda do |entries, depth|
    parts, index = ["\"d\""], 0
    while index < size[entries]
      entry = item[entries, index]
      push[parts, "[#{encode[item[entry, 0], depth + 1, true]},#{encode[item[entry, 1], depth + 1, false]}]"]
      index += 1
    end
    "[#{join[parts, ","]}]"
  end
  # A list is written as a tuple where it is a key, and a symbol as bytes: either is different from any other value.
  encode = lambda do |value, depth, key|
    left -= 1
    raise too_large if left < 0 || depth > deepest
    case value
    when NilClass then "null"
    when TrueClass then "true"
    when FalseClass then "false"
    when Integer
      left -= bits[value] >> 6
      "[\"i\",\"#{digits[value, 16]}\"]"
    when Float then "[\"e\",\"#{decimals[value]}\"]"
    when String
      left -= bytesize[value] >> 4
      "[\"y\",\"#{unpack[value, "H*"]}\"]"
    when Symbol then "[\"b\",\"#{pack[[symbol_text[value]], "m0"]}\"]"
    when Array then all[key ? "t" : "l", value, depth, key]
    when Hash then table[pairs[value], depth]
    when Rational then "[\"e\",\"#{decimals[ratio[value]]}\"]" # as it compares with numbers
    else
      members = defined?(::Set) && ::Set === value && variable[value, :@hash]
      if Hash === members
        all["s", keys[members], depth, true]
      else
        "[\"o\",\"#{clean["#{class_name[class_of[value]]}", /[^\w:]/, "?"]}\"]"
      end
    end
  end

  raised = lambda do |index, error|
    status = SystemExit === error ? error.status : 1
    answer[index, "\"err\",\"#{clean["#{class_name[class_of[error]]}", /[^A-Za-z0-9_:]/, "?"]}\",#{status}"]
    begin
      write[STDERR, message[error, highlight: false, order: :top][0, 2000]] unless SystemExit === error
    rescue Exception
      nil
    end
  end

  $0 = "program.rb"
  begin
    begin
      evaluate.call(program, TOPLEVEL_BINDING, "program.rb")
    rescue LocalJumpError => error
      raise unless error.reason == :return # of the program as a whole
    end
    answer[-1, "\"ok\""]
  rescue Exception => error
    raised[-1, error]
    leave.call(1)
  end
  index = 0
  while index < size[calls]
    begin
      left = most_nodes
      answer[index, "\"val\",#{encode[evaluate.call(item[calls, index], TOPLEVEL_BINDING, "call.rb"), 0, false]}"]
    rescue too_large
      answer[index, "\"big\""]
    rescue Exception => error
      if NameError === error && "#{(backtrace[error] || []).first}".start_with?("call.rb:")
        answer[index, "\"undefined\""]
      else
        raised[index, error]
      end
    end
    index += 1
  end
  leave.call(0)
end.call
