<?php
// Loads the program, answers the calls. Every builtin is named from the root: in a namespace a program could shadow it.
namespace Driver;

final class TooLarge extends \Exception {}

final class Driver
{
    private const LARGEST = LARGEST_FRAME, NODES = 200000, DEPTH = 100;
    private static $replies;
    private static array $calls;
    private static bool $answered = false;
    private static string $nonce;
    private static int $nodes;

    public static function open(): void
    {
        self::$nonce = \array_pop($_SERVER['argv']);
        $GLOBALS['argv'] = $_SERVER['argv'];
        $_SERVER['argc'] = $GLOBALS['argc'] = \count($_SERVER['argv']);
        self::$replies = \fopen('php://fd/3', 'wb');
        // Registered first, it is run first, and after an exit there the program's own are not run.
        \register_shutdown_function(static fn() => self::$answered && exit(0));
        self::$calls = \json_decode(\file_get_contents('calls.json'), true);
    }

    public static function answers(): void
    {
        self::send(-1, 'ok');
        foreach (self::$calls as $index => $call) {
            self::answer($index, $call);
        }
        self::$answered = true;
    }

    private static function send(mixed ...$frame): void
    {
        $line = \json_encode($frame);
        if ($line === false || \strlen($line) > self::LARGEST) {
            $line = \json_encode([$frame[0], 'big']);
        }
        \fwrite(self::$replies, self::$nonce . " $line\n");
    }

    public static function raised(int $index, \Throwable $error): void
    {
        $name = \get_class($error);
        self::send($index, 'err', \preg_match('/^[\w\\\\]{1,80}$/', $name) ? $name : 'Exception', 1);
        try {
            \fwrite(\STDERR, \substr((string) $error, 0, 2000) . "\n");
        } catch (\Throwable) {
        }
    }

    private static function answer(int $index, string $call): void
    {
        try {
            if (\preg_match('/^\\\\?([A-Za-z_]\w*)\s*\(/', $call, $found) && !self::defined($found[1])) {
                self::send($index, 'undefined');
                return;
            }
            $value = self::evaluate($call);
            self::$nodes = self::NODES;
            self::send($index, 'val', self::encode($value, 0));
        } catch (TooLarge) {
            self::send($index, 'big');
        } catch (\Throwable $error) {
            self::raised($index, $error);
        }
    }

    private static function defined(string $name): bool
    {
        return \function_exists($name) || \in_array(\strtolower($name), ['array', 'isset', 'empty', 'list'], true);
    }

    private static function evaluate(string $call): mixed
    {
        \extract($GLOBALS, \EXTR_SKIP);
        return eval("return $call;");
    }

    private static function encode(mixed $value, int $depth): mixed
    {
        self::$nodes -= 1 + (\is_string($value) ? \strlen($value) >> 4 : 0);
        if (self::$nodes < 0 || $depth > self::DEPTH) {
            throw new TooLarge();
        }
        if ($value === null || \is_bool($value)) {
            return $value;
        }
        if (\is_int($value)) {
            return ['j', (string) $value];
        }
        if (\is_float($value)) {
            return self::number($value);
        }
        if (\is_string($value)) {
            return \json_encode($value) === false ? ['y', \bin2hex($value)] : $value;
        }
        if (!\is_array($value)) {
            return ['o', \is_object($value) ? 'object' : 'resource'];
        }
        if (\array_is_list($value)) {
            $form = ['l'];
            foreach ($value as $item) {
                $form[] = self::encode($item, $depth + 1);
            }
            return $form;
        }
        $form = ['d'];
        foreach ($value as $key => $item) {
            $form[] = [self::encode($key, $depth + 1), self::encode($item, $depth + 1)];
        }
        return $form;
    }

    /** The bits of a float as a hexadecimal literal: no setting of the program changes how it is written. */
    private static function number(float $value): array
    {
        if (!\is_finite($value)) {
            return ['e', \is_nan($value) ? 'nan' : ($value > 0 ? 'inf' : '-inf')];
        }
        $bits = \bin2hex(\pack('E', $value));
        $head = \hexdec(\substr($bits, 0, 3));
        $exponent = $head & 0x7ff;
        $sign = $head & 0x800 ? '-' : '';
        $power = $exponent === 0 ? -1022 : $exponent - 1023;
        return ['f', $sign . ($exponent === 0 ? '0x0.' : '0x1.') . \substr($bits, 3) . "p$power"];
    }
}

Driver::open();
try {
    require 'program.php';
} catch (\Throwable $error) {
    Driver::raised(-1, $error);
    exit(1);
}
Driver::answers();
