//! Answers the calls and writes what they return as tagged JSON. Compiled once; of a program's types it knows nothing,
//! so whatever traits they implement do not matter.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap, HashSet, LinkedList, VecDeque};
use std::fs::File;
use std::io::Write;
use std::mem::ManuallyDrop;
use std::os::unix::io::FromRawFd;
use std::panic::{catch_unwind, resume_unwind, AssertUnwindSafe};
use std::rc::Rc;
use std::sync::Arc;

const NODES: isize = 200_000;
const DEPTH: usize = 100;

struct TooLarge;

pub struct Reply {
    line: String,
    largest: usize,
    left: isize,
    depth: usize,
}

impl Reply {
    fn spend(&mut self, nodes: usize) {
        self.left -= nodes as isize;
        if self.left < 0 || self.line.len() > self.largest || self.depth > DEPTH {
            resume_unwind(Box::new(TooLarge));
        }
    }

    fn plain(&mut self, text: &str) {
        self.spend(1);
        self.line += text;
    }

    fn tagged(&mut self, tag: &str, value: &str) {
        self.spend(1);
        for part in ["[\"", tag, "\",\"", value, "\"]"] {
            self.line += part;
        }
    }

    fn text(&mut self, text: &str) {
        self.spend(1 + text.len() / 16);
        if text.bytes().all(|byte| (b' '..=b'~').contains(&byte) && byte != b'"' && byte != b'\\') {
            self.line.push('"');
            self.line += text;
            self.line.push('"');
            return;
        }
        self.line += "[\"y\",\"";
        for byte in text.bytes() {
            self.line.push(char::from_digit(u32::from(byte) >> 4, 16).unwrap());
            self.line.push(char::from_digit(u32::from(byte) & 15, 16).unwrap());
        }
        self.line += "\"]";
    }

    fn open(&mut self, tag: &str) {
        self.spend(1);
        self.depth += 1;
        for part in ["[\"", tag, "\""] {
            self.line += part;
        }
    }

    fn close(&mut self) {
        self.depth -= 1;
        self.line.push(']');
    }

    fn group<'a, T: Encode + ?Sized + 'a>(&mut self, tag: &str, items: impl Iterator<Item = &'a T>) {
        self.open(tag);
        for item in items {
            self.line.push(',');
            item.encode(self);
        }
        self.close();
    }

    fn pairs<'a, K: Encode + 'a, V: Encode + 'a>(&mut self, items: impl Iterator<Item = (&'a K, &'a V)>) {
        self.open("d");
        for (key, value) in items {
            self.line += ",[";
            key.encode(self);
            self.line.push(',');
            value.encode(self);
            self.line.push(']');
        }
        self.close();
    }
}

pub trait Encode {
    fn encode(&self, reply: &mut Reply);
}

macro_rules! encode {
    ($($type:ty, $value:ident, $reply:ident => $body:expr;)*) => {
        $(impl Encode for $type { fn encode(&self, $reply: &mut Reply) { let $value = self; $body; } })*
    };
}

macro_rules! integers {
    ($($type:ty)*) => { $(encode! { $type, value, reply => reply.tagged("j", &value.to_string()); })* };
}

macro_rules! pointers {
    ($($type:ty)*) => {
        $(impl<T: Encode + ?Sized> Encode for $type { fn encode(&self, reply: &mut Reply) { (**self).encode(reply) } })*
    };
}

macro_rules! groups {
    ($($type:ty, $tag:literal;)*) => {
        $(impl<T: Encode> Encode for $type { fn encode(&self, reply: &mut Reply) { reply.group($tag, self.iter()) } })*
    };
}

macro_rules! tuples {
    ($($($name:ident)+;)*) => {
        $(impl<$($name: Encode),+> Encode for ($($name,)+) {
            #[allow(non_snake_case)]
            fn encode(&self, reply: &mut Reply) {
                let ($($name,)+) = self;
                reply.open("t");
                $(reply.line.push(','); $name.encode(reply);)+
                reply.close();
            }
        })*
    };
}

integers! { i8 i16 i32 i64 i128 isize u8 u16 u32 u64 u128 usize }
pointers! { &T &mut T Box<T> Rc<T> Arc<T> }
groups! { [T], "l"; Vec<T>, "l"; VecDeque<T>, "l"; LinkedList<T>, "l"; BinaryHeap<T>, "l"; BTreeSet<T>, "s"; }
tuples! {
    A; A B; A B C; A B C D; A B C D E; A B C D E F; A B C D E F G; A B C D E F G H; A B C D E F G H I;
    A B C D E F G H I J; A B C D E F G H I J K; A B C D E F G H I J K L;
}
encode! {
    bool, value, reply => reply.plain(if *value { "true" } else { "false" });
    f64, value, reply => reply.tagged("e", &format!("{:?}", value));
    f32, value, reply => reply.tagged("e", &format!("{:?}", f64::from(*value)));
    str, value, reply => reply.text(value);
    String, value, reply => reply.text(value);
    Cow<'_, str>, value, reply => reply.text(value);
    char, value, reply => reply.text(value.encode_utf8(&mut [0; 4]));
    (), _value, reply => reply.plain("null");
}

impl<T: Encode, const N: usize> Encode for [T; N] {
    fn encode(&self, reply: &mut Reply) {
        reply.group("l", self.iter())
    }
}

impl<T: Encode, S> Encode for HashSet<T, S> {
    fn encode(&self, reply: &mut Reply) {
        reply.group("s", self.iter())
    }
}

impl<K: Encode, V: Encode, S> Encode for HashMap<K, V, S> {
    fn encode(&self, reply: &mut Reply) {
        reply.pairs(self.iter())
    }
}

impl<K: Encode, V: Encode> Encode for BTreeMap<K, V> {
    fn encode(&self, reply: &mut Reply) {
        reply.pairs(self.iter())
    }
}

impl<T: Encode> Encode for Option<T> {
    fn encode(&self, reply: &mut Reply) {
        match self {
            Some(value) => value.encode(reply),
            None => reply.plain("null"),
        }
    }
}

impl<T: Encode, E: Encode> Encode for Result<T, E> {
    fn encode(&self, reply: &mut Reply) {
        match self {
            Ok(value) => ("Ok", value).encode(reply),
            Err(error) => ("Err", error).encode(reply),
        }
    }
}

/// What a call returned. `Known` is found before `Unknown`, which is one reference further away.
pub struct Returned<T>(pub T);

pub trait Known {
    fn __judge(&self, reply: &mut Reply);
}

impl<T: Encode> Known for Returned<T> {
    fn __judge(&self, reply: &mut Reply) {
        self.0.encode(reply)
    }
}

pub trait Unknown {
    fn __judge(&self, reply: &mut Reply);
}

impl<T> Unknown for &Returned<T> {
    fn __judge(&self, reply: &mut Reply) {
        let name: String = std::any::type_name::<T>().chars().take(80).collect();
        reply.line += "[\"o\",";
        reply.text(&name);
        reply.line.push(']');
    }
}

/// Answers `calls`, in order, and leaves.
pub fn run(calls: &[fn(&mut Reply)]) -> ! {
    let arguments: Vec<String> = std::env::args().collect();
    let nonce = &arguments[arguments.len() - 1];
    let largest = arguments[arguments.len() - 2].parse().unwrap();
    let mut replies = ManuallyDrop::new(unsafe { File::from_raw_fd(3) });
    let mut send = |frame: &str| {
        if replies.write_all(format!("{} [{}]\n", nonce, frame).as_bytes()).is_err() {
            std::process::exit(1);
        }
    };
    send("-1,\"ok\"");
    for (index, call) in calls.iter().enumerate() {
        let mut reply = Reply { line: format!("{},\"val\",", index), largest, left: NODES, depth: 0 };
        match catch_unwind(AssertUnwindSafe(|| call(&mut reply))) {
            Ok(()) if reply.line.len() <= largest => send(&reply.line),
            Err(panic) if !panic.is::<TooLarge>() => send(&format!("{},\"err\",\"panic\",1", index)),
            _ => send(&format!("{},\"big\"", index)),
        }
    }
    std::process::exit(0)
}
