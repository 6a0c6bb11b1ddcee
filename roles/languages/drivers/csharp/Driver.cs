// Runs a program, or answers calls of one. Its assembly stays out of the way: it is compiled once, on its own.
using System;
using System.Collections;
using System.Collections.Generic;
using System.Diagnostics;
using System.Globalization;
using System.Numerics;
using System.Reflection;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Text;
using System.Threading;

namespace RewardRanker
{
    /// <summary>What is made of the calls of one job.</summary>
    public interface ICalls
    {
        int Count { get; }
        object Call(int index);
    }

    public static class Driver
    {
        static string mark;
        static int largest;

        [DllImport("libc", EntryPoint = "write", SetLastError = true)]
        static extern IntPtr Write(int descriptor, byte[] bytes, IntPtr count);

        [DllImport("libc", EntryPoint = "_exit")]
        static extern void Leave(int status);

        /// <summary>Arguments: an assembly; and to answer calls their class, the largest frame, the nonce.</summary>
        public static int Main(string[] arguments)
        {
            int status = 0;
            var thread = new Thread(() => status = Run(arguments), 16 << 20); // unwinding a larger stack takes seconds
            thread.Start();
            thread.Join();
            return status;
        }

        static int Run(string[] arguments)
        {
            if (arguments.Length == 1)
                return Execute(arguments[0]);
            largest = int.Parse(arguments[2], CultureInfo.InvariantCulture);
            mark = arguments[3] + " ";
            ICalls calls = null;
            try
            {
                calls = (ICalls)Activator.CreateInstance(Assembly.LoadFrom(arguments[0]).GetType(arguments[1], true));
            }
            catch (Exception error)
            {
                Raised(-1, error);
                Leave(1);
            }
            Send(-1, ", \"ok\"");
            for (int index = 0; index < calls.Count; index++)
                Answer(calls, index);
            Leave(0); // whatever threads the program has left
            return 0;
        }

        static int Execute(string path)
        {
            foreach (AssemblyName name in Assembly.LoadFrom(path).GetReferencedAssemblies())
                if (name.Name == "System") // the home of Debug; to ask for its listeners takes 80 ms
                    Listen();
            return AppDomain.CurrentDomain.ExecuteAssembly(path);
        }

        static void Listen()
        {
            Debug.Listeners.Clear();
            Debug.Listeners.Add(new FailedAssertion());
        }

        static void Answer(ICalls calls, int index)
        {
            try
            {
                var encoder = new Encoder(largest);
                encoder.Encode(calls.Call(index), Encoder.Levels, false);
                Send(index, ", \"val\", " + encoder.Text);
            }
            catch (Encoder.TooLarge)
            {
                Send(index, ", \"big\"");
            }
            catch (Exception error)
            {
                Raised(index, error);
            }
        }

        static void Raised(int index, Exception error)
        {
            while ((error is TypeInitializationException || error is TargetInvocationException) && error.InnerException != null)
                error = error.InnerException;
            var encoder = new Encoder(largest);
            encoder.Literal(error.GetType().Name);
            Send(index, ", \"err\", " + encoder.Text + ", 1");
            try
            {
                string text = error.GetType().FullName + ": " + error.Message; // a trace may have a million lines
                byte[] bytes = Encoding.UTF8.GetBytes(text.Substring(0, Math.Min(text.Length, 2000)) + "\n");
                Write(2, bytes, (IntPtr)bytes.Length);
            }
            catch (Exception)
            {
                // its message is the program's own code
            }
        }

        static void Send(int index, string rest)
        {
            if (rest.Length > largest)
                rest = ", \"big\"";
            byte[] bytes = Encoding.ASCII.GetBytes(mark + "[" + index.ToString(CultureInfo.InvariantCulture) + rest + "]\n");
            while (bytes.Length > 0)
            {
                int done = (int)Write(3, bytes, (IntPtr)bytes.Length);
                if (done < 0 && Marshal.GetLastWin32Error() != 4)
                    Leave(1);
                if (done <= 0)
                    continue;
                var left = new byte[bytes.Length - done];
                Array.Copy(bytes, done, left, 0, left.Length);
                bytes = left;
            }
        }

        sealed class FailedAssertion : TraceListener
        {
            public override void Write(string message) { }
            public override void WriteLine(string message) { }
            public override void Fail(string message, string detail)
            {
                Console.Error.WriteLine("assertion failed: " + message + " " + detail);
                Leave(1);
            }
        }
    }

    /// <summary>Writes one value as tagged JSON in ASCII. What is in a set or a key is written as hashable.</summary>
    sealed class Encoder
    {
        public const int Levels = 100;
        readonly StringBuilder text = new StringBuilder();
        readonly int largest;
        int left = 200000;

        public sealed class TooLarge : Exception { }

        public Encoder(int largest) { this.largest = largest; }

        public string Text { get { return text.ToString(); } }

        public void Encode(object value, int levels, bool hashed)
        {
            if (--left < 0 || levels < 0 || text.Length > largest)
                throw new TooLarge();
            if (value == null)
                text.Append("null");
            else if (value is bool)
                text.Append((bool)value ? "true" : "false");
            else if (value is sbyte || value is byte || value is short || value is ushort || value is int || value is uint
                || value is long || value is ulong)
                Tagged("j", ((IFormattable)value).ToString("D", CultureInfo.InvariantCulture));
            else if (value is BigInteger)
                Tagged("i", Hex((BigInteger)value));
            else if (value is float)
                Tagged("f", Hex((float)value));
            else if (value is double)
                Tagged("f", Hex((double)value));
            else if (value is decimal)
                Tagged("e", ((decimal)value).ToString(CultureInfo.InvariantCulture));
            else if (value is char || value is string)
                Literal(value.ToString());
            else if (value is ITuple)
                Items("t", Each((ITuple)value), levels, hashed);
            else if (value is Array && ((Array)value).Rank > 1)
                Rows((Array)value, new int[0], levels, hashed);
            else if (value is IDictionary && !hashed)
                Entries((IDictionary)value, levels);
            else if (IsGeneric(value, typeof(KeyValuePair<,>)))
                Items("t", Pair(value), levels, hashed);
            else if (HasInterface(value, typeof(ISet<>)))
                Items(hashed ? "z" : "s", (IEnumerable)value, levels, true);
            else if (value is IEnumerable && !(value is IDictionary))
                Items(hashed ? "t" : "l", (IEnumerable)value, levels, hashed);
            else
            {
                text.Append("[\"o\", ");
                Literal(value.GetType().Name);
                text.Append("]");
            }
        }

        public void Literal(string value)
        {
            left -= value.Length >> 4;
            text.Append('"');
            foreach (char c in value)
            {
                if (c >= ' ' && c < 127 && c != '"' && c != '\\')
                    text.Append(c);
                else
                    text.Append("\\u").Append(((int)c).ToString("x4", CultureInfo.InvariantCulture));
            }
            text.Append('"');
        }

        void Tagged(string tag, string value)
        {
            text.Append("[\"").Append(tag).Append("\", \"").Append(value).Append("\"]");
        }

        void Items(string tag, IEnumerable values, int levels, bool hashed)
        {
            text.Append("[\"").Append(tag).Append('"');
            foreach (object item in values)
            {
                text.Append(", ");
                Encode(item, levels - 1, hashed);
            }
            text.Append(']');
        }

        void Entries(IDictionary values, int levels)
        {
            text.Append("[\"d\"");
            foreach (DictionaryEntry entry in values)
            {
                text.Append(", [");
                Encode(entry.Key, levels - 1, true);
                text.Append(", ");
                Encode(entry.Value, levels - 1, false);
                text.Append(']');
            }
            text.Append(']');
        }

        void Rows(Array values, int[] index, int levels, bool hashed)
        {
            if (index.Length == values.Rank)
            {
                Encode(values.GetValue(index), levels, hashed);
                return;
            }
            text.Append(hashed ? "[\"t\"" : "[\"l\"");
            for (int i = 0; i < values.GetLength(index.Length); i++)
            {
                var inner = new int[index.Length + 1];
                index.CopyTo(inner, 0);
                inner[index.Length] = i + values.GetLowerBound(index.Length);
                text.Append(", ");
                Rows(values, inner, levels - 1, hashed);
            }
            text.Append(']');
        }

        static IEnumerable Each(ITuple value)
        {
            for (int i = 0; i < value.Length; i++)
                yield return value[i];
        }

        static object[] Pair(object value)
        {
            Type type = value.GetType();
            return new[] { type.GetProperty("Key").GetValue(value, null), type.GetProperty("Value").GetValue(value, null) };
        }

        static bool IsGeneric(object value, Type definition)
        {
            return value.GetType().IsGenericType && value.GetType().GetGenericTypeDefinition() == definition;
        }

        static bool HasInterface(object value, Type definition)
        {
            foreach (Type type in value.GetType().GetInterfaces())
                if (type.IsGenericType && type.GetGenericTypeDefinition() == definition)
                    return true;
            return false;
        }

        static string Hex(BigInteger value)
        {
            string digits = BigInteger.Abs(value).ToString("x", CultureInfo.InvariantCulture);
            return value.Sign < 0 ? "-" + digits : digits;
        }

        static string Hex(double value)
        {
            if (double.IsNaN(value))
                return "nan";
            if (double.IsInfinity(value))
                return value > 0 ? "inf" : "-inf";
            long bits = BitConverter.DoubleToInt64Bits(value);
            int exponent = (int)(bits >> 52 & 2047);
            return (bits < 0 ? "-" : "") + (exponent == 0 ? "0x0." : "0x1.")
                + (bits & 0xFFFFFFFFFFFFFL).ToString("x13", CultureInfo.InvariantCulture)
                + "p" + (exponent == 0 ? -1022 : exponent - 1023).ToString(CultureInfo.InvariantCulture);
        }

        public static string Of(object value)
        {
            var encoder = new Encoder(int.MaxValue);
            encoder.Encode(value, Levels, false);
            return encoder.Text;
        }
    }
}

// MBXP's prompts name this library; what their test programs use of it is here, for those that are run as they are.
namespace KellermanSoftware.CompareNetObjects
{
    public class ComparisonResult
    {
        public bool AreEqual { get; set; }
    }

    public class CompareLogic
    {
        public ComparisonResult Compare(object actual, object expected)
        {
            return new ComparisonResult { AreEqual = RewardRanker.Encoder.Of(actual) == RewardRanker.Encoder.Of(expected) };
        }
    }
}
