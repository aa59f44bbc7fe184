//! Pickles of protocols 0 to 5 as data: a stack machine that builds values and runs nothing.
//!
//! The opcodes are those of Python's `pickletools` module. Memory is bounded by the length of the
//! input: declared lengths are compared with what remains, long byte strings stay in the file, and
//! containers are tables of numbers, so that nothing is recursive.

use std::collections::HashMap;

use super::construct::{self, Called};
use super::error::{Parse, Reason, refuse};
use super::input::Stream;
use super::value::{Arena, Blob, Id, LONG, Opaque, Value};

/// A pickle's values and the one that it stands for.
pub(super) struct Pickle {
    pub(super) arena: Arena,
    pub(super) root: Id,
}

/// Positions of marks in the stack, and values by memo number.
struct Machine {
    arena: Arena,
    stack: Vec<Id>,
    marks: Vec<usize>,
    memo: HashMap<u64, Id>,
}

/// More values than any checkpoint keeps waiting at a time.
const MAX_STACK: usize = 4_000_000;

/// Longer than any name of a class.
const MAX_NAME: usize = 512;

/// Reads one pickle and leaves the stream behind it.
pub(super) fn read(stream: &mut Stream) -> Parse<Pickle> {
    let mut machine = Machine {
        arena: Arena::for_pickle_of(stream.remaining()),
        stack: Vec::new(),
        marks: Vec::new(),
        memo: HashMap::new(),
    };
    loop {
        let position = stream.position();
        let opcode = stream.byte()?;
        if opcode == b'.' {
            let root = machine.pop()?;
            return Ok(Pickle {
                arena: machine.arena,
                root,
            });
        }
        machine
            .step(opcode, stream)
            .map_err(|reason| reason.within(format!("pickle, position {position}")))?;
        if machine.stack.len() + machine.marks.len() + machine.memo.len() > MAX_STACK {
            refuse!("the pickle keeps more than {MAX_STACK} values waiting: this is no checkpoint")
        }
    }
}

fn little(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |n, &b| n << 8 | u64::from(b))
}

impl Machine {
    fn push(&mut self, value: Value) -> Parse<()> {
        let id = self.arena.add(value)?;
        self.stack.push(id);
        Ok(())
    }

    fn pop(&mut self) -> Parse<Id> {
        // Values below a mark belong to whoever set it.
        let floor = self.marks.last().copied().unwrap_or(0);
        match self.stack.pop() {
            Some(id) if self.stack.len() >= floor => Ok(id),
            _ => refuse!("a value is missing: the pickle is damaged"),
        }
    }

    fn top(&self) -> Parse<Id> {
        match self.stack.last() {
            Some(&id) => Ok(id),
            None => refuse!("a value is missing: the pickle is damaged"),
        }
    }

    fn pop_mark(&mut self) -> Parse<Vec<Id>> {
        match self.marks.pop() {
            Some(mark) if mark <= self.stack.len() => Ok(self.stack.split_off(mark)),
            _ => refuse!("a mark is missing: the pickle is damaged"),
        }
    }

    fn tuple(&mut self, len: usize) -> Parse<()> {
        let mut items = (0..len).map(|_| self.pop()).collect::<Parse<Vec<_>>>()?;
        items.reverse();
        self.push(Value::Tuple(items))
    }

    fn step(&mut self, opcode: u8, stream: &mut Stream) -> Parse<()> {
        match opcode {
            // Framing and the memo.
            0x80 => {
                let protocol = stream.byte()?;
                if protocol > 5 {
                    refuse!("protocol {protocol}; 0 to 5 are read")
                }
            }
            0x95 => {
                stream.array::<8>()?;
            }
            0x94 => self.memorise(self.memo.len() as u64)?,
            b'q' => {
                let key = stream.byte()?;
                self.memorise(u64::from(key))?;
            }
            b'r' => {
                let key = little(&stream.array::<4>()?);
                self.memorise(key)?;
            }
            b'p' => {
                let key = number(&stream.line()?)?;
                self.memorise(key)?;
            }
            b'h' => {
                let key = stream.byte()?;
                self.recall(u64::from(key))?;
            }
            b'j' => {
                let key = little(&stream.array::<4>()?);
                self.recall(key)?;
            }
            b'g' => {
                let key = number(&stream.line()?)?;
                self.recall(key)?;
            }

            // The stack.
            b'(' => self.marks.push(self.stack.len()),
            b'0' => {
                // After a mark with nothing above it, the mark itself is what goes.
                if self.marks.last() == Some(&self.stack.len()) {
                    self.marks.pop();
                } else {
                    self.pop()?;
                }
            }
            b'1' => {
                self.pop_mark()?;
            }
            b'2' => self.stack.push(self.top()?),

            // Plain values.
            b'N' => self.push(Value::None)?,
            0x88 => self.push(Value::Bool(true))?,
            0x89 => self.push(Value::Bool(false))?,
            b'J' => {
                let value = i32::from_le_bytes(stream.array()?);
                self.push(Value::Int(value.into()))?;
            }
            b'K' => {
                let value = stream.byte()?;
                self.push(Value::Int(value.into()))?;
            }
            b'M' => {
                let value = u16::from_le_bytes(stream.array()?);
                self.push(Value::Int(value.into()))?;
            }
            b'I' => match stream.line()?.as_slice() {
                b"00" => self.push(Value::Bool(false))?,
                b"01" => self.push(Value::Bool(true))?,
                digits => self.push(decimal(digits)?)?,
            },
            b'L' => {
                let line = stream.line()?;
                self.push(decimal(line.strip_suffix(b"L").unwrap_or(&line))?)?;
            }
            0x8a => {
                let len = stream.byte()?;
                let bytes = stream.take(u64::from(len))?;
                self.push(long(&bytes))?;
            }
            0x8b => {
                let len = little(&stream.array::<4>()?);
                let bytes = stream.take(len)?;
                self.push(long(&bytes))?;
            }
            b'F' => {
                let line = stream.line()?;
                let value = std::str::from_utf8(&line).ok().and_then(|t| t.parse().ok());
                let value = value.ok_or_else(|| Reason("a number cannot be read".into()))?;
                self.push(Value::Float(value))?;
            }
            b'G' => {
                let value = f64::from_be_bytes(stream.array()?);
                self.push(Value::Float(value))?;
            }

            // Texts and byte strings.
            b'S' => {
                let bytes = quoted(&stream.line()?)?;
                self.push(Value::Bytes(Blob::Short(bytes)))?;
            }
            b'V' => {
                let text = escaped(&stream.line()?)?;
                self.push(Value::Text(Blob::Short(text)))?;
            }
            b'U' | b'C' => {
                let len = stream.byte()?;
                let blob = blob(stream, len.into())?;
                self.push(Value::Bytes(blob))?;
            }
            b'T' | b'B' => {
                let len = little(&stream.array::<4>()?);
                let blob = blob(stream, len)?;
                self.push(Value::Bytes(blob))?;
            }
            0x8e | 0x96 => {
                let len = little(&stream.array::<8>()?);
                let blob = blob(stream, len)?;
                self.push(Value::Bytes(blob))?;
            }
            0x8c => {
                let len = stream.byte()?;
                let blob = blob(stream, len.into())?;
                self.push(Value::Text(blob))?;
            }
            b'X' => {
                let len = little(&stream.array::<4>()?);
                let blob = blob(stream, len)?;
                self.push(Value::Text(blob))?;
            }
            0x8d => {
                let len = little(&stream.array::<8>()?);
                let blob = blob(stream, len)?;
                self.push(Value::Text(blob))?;
            }

            // Containers. Sets are lists here.
            b')' => self.push(Value::Tuple(Vec::new()))?,
            0x85 => self.tuple(1)?,
            0x86 => self.tuple(2)?,
            0x87 => self.tuple(3)?,
            b't' => {
                let items = self.pop_mark()?;
                self.push(Value::Tuple(items))?;
            }
            b']' | 0x8f => self.push(Value::List(Vec::new()))?,
            b'l' | 0x91 => {
                let items = self.pop_mark()?;
                self.push(Value::List(items))?;
            }
            b'}' => self.push(Value::Dict(Vec::new()))?,
            b'd' => {
                let pairs = in_pairs(&self.pop_mark()?)?;
                self.push(Value::Dict(pairs))?;
            }
            b'a' => {
                let item = self.pop()?;
                self.append(vec![item])?;
            }
            b'e' | 0x90 => {
                let items = self.pop_mark()?;
                self.append(items)?;
            }
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                self.insert(vec![(key, value)])?;
            }
            b'u' => {
                let pairs = in_pairs(&self.pop_mark()?)?;
                self.insert(pairs)?;
            }

            // Classes, calls and objects.
            b'c' => {
                let (module, name) = (stream.line()?, stream.line()?);
                self.global(&module, &name)?;
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                let texts = (self.arena.text(module), self.arena.text(name));
                let (Some(module), Some(name)) = texts else {
                    refuse!("a class has no name: the pickle is damaged")
                };
                let (module, name) = (module.to_owned(), name.to_owned());
                self.global(module.as_bytes(), name.as_bytes())?;
            }
            b'i' => {
                let (module, name) = (stream.line()?, stream.line()?);
                let arguments = self.pop_mark()?;
                self.global(&module, &name)?;
                let class = self.pop()?;
                self.call(class, arguments)?;
            }
            b'o' => {
                let mut arguments = self.pop_mark()?;
                if arguments.is_empty() {
                    refuse!("an object has no class: the pickle is damaged")
                }
                let class = arguments.remove(0);
                self.call(class, arguments)?;
            }
            b'R' | 0x81 => {
                let (arguments, function) = (self.pop()?, self.pop()?);
                let arguments = self.arena.arguments(arguments);
                self.call(function, arguments)?;
            }
            0x92 => {
                let (_named, arguments, class) = (self.pop()?, self.pop()?, self.pop()?);
                let arguments = self.arena.arguments(arguments);
                self.call(class, arguments)?;
            }
            b'b' => {
                let (state, object) = (self.pop()?, self.top()?);
                construct::build(&mut self.arena, object, state)?;
            }
            b'Q' => {
                let id = self.pop()?;
                let storage = construct::persistent(&self.arena, id)?;
                self.push(storage)?;
            }

            b'P' => refuse!(
                "persistent ids as text: save again in Python with torch.save and protocol 2"
            ),
            0x82..=0x84 => refuse!("a class by its number in a registry of Python, unknown here"),
            0x97 | 0x98 => refuse!("a buffer outside the file: save again in Python without it"),
            other => refuse!("unknown operation {other:#04x}: the file is damaged or no pickle"),
        }
        Ok(())
    }

    fn memorise(&mut self, key: u64) -> Parse<()> {
        let top = self.top()?;
        self.memo.insert(key, top);
        Ok(())
    }

    fn recall(&mut self, key: u64) -> Parse<()> {
        match self.memo.get(&key) {
            Some(&id) => self.stack.push(id),
            None => refuse!("value {key} is used before it is there: the pickle is damaged"),
        }
        Ok(())
    }

    fn global(&mut self, module: &[u8], name: &[u8]) -> Parse<()> {
        let texts = (std::str::from_utf8(module), std::str::from_utf8(name));
        let (Ok(module), Ok(name)) = texts else {
            refuse!("the name of a class is no text: the pickle is damaged")
        };
        if module.len() + name.len() > MAX_NAME {
            refuse!("the name of a class is longer than {MAX_NAME} letters: the pickle is damaged")
        }
        construct::refuse_programs(module, name)?;
        self.push(Value::Global(format!("{module}.{name}")))
    }

    fn call(&mut self, function: Id, arguments: Vec<Id>) -> Parse<()> {
        let name = match self.arena.get(function) {
            Value::Global(name) => name.clone(),
            _ => {
                return self.push(Value::Opaque(Opaque {
                    class: "an unnamed class".into(),
                    ..Opaque::default()
                }));
            }
        };
        match construct::call(&mut self.arena, &name, &arguments)? {
            Called::New(value) => self.push(value)?,
            Called::Same(id) => self.stack.push(id),
        }
        Ok(())
    }

    fn append(&mut self, items: Vec<Id>) -> Parse<()> {
        let target = self.top()?;
        match self.arena.get_mut(target) {
            Some(Value::List(list)) => list.extend(items),
            // The items of opaque lists are of no use.
            Some(Value::Opaque(_)) => {}
            _ => refuse!("items are added to what is no list: the pickle is damaged"),
        }
        Ok(())
    }

    fn insert(&mut self, pairs: Vec<(Id, Id)>) -> Parse<()> {
        let target = self.top()?;
        match self.arena.get_mut(target) {
            Some(Value::Dict(dict)) => dict.extend(pairs),
            Some(Value::Opaque(object)) => object.pairs.extend(pairs),
            _ => refuse!("entries are added to what is no dictionary: the pickle is damaged"),
        }
        Ok(())
    }
}

fn in_pairs(items: &[Id]) -> Parse<Vec<(Id, Id)>> {
    let (pairs, rest) = items.as_chunks::<2>();
    if !rest.is_empty() {
        refuse!("a dictionary has a key without a value: the pickle is damaged")
    }
    Ok(pairs.iter().map(|&[key, value]| (key, value)).collect())
}

fn blob(stream: &mut Stream, len: u64) -> Parse<Blob> {
    Ok(if len < LONG {
        Blob::Short(stream.take(len)?)
    } else {
        Blob::InFile(stream.skip(len)?)
    })
}

fn number(digits: &[u8]) -> Parse<u64> {
    let number = std::str::from_utf8(digits)
        .ok()
        .and_then(|t| t.parse().ok());
    number.ok_or_else(|| Reason("a number cannot be read: the pickle is damaged".into()))
}

fn huge() -> Value {
    Value::Opaque(Opaque {
        class: "int (beyond 128 bits)".into(),
        ..Opaque::default()
    })
}

fn decimal(digits: &[u8]) -> Parse<Value> {
    let plain = digits.strip_prefix(b"-").unwrap_or(digits);
    if plain.is_empty() || !plain.iter().all(u8::is_ascii_digit) {
        refuse!("a number cannot be read: the pickle is damaged")
    }
    let text = std::str::from_utf8(digits).unwrap_or_default();
    Ok(text.parse().map_or_else(|_| huge(), Value::Int))
}

/// Two's complement, little-endian.
fn long(bytes: &[u8]) -> Value {
    if bytes.len() > 16 {
        return huge();
    }
    let negative = bytes.last().is_some_and(|b| b & 0x80 != 0);
    let mut wide = [if negative { 0xff } else { 0 }; 16];
    wide[..bytes.len()].copy_from_slice(bytes);
    Value::Int(i128::from_le_bytes(wide))
}

/// A byte string in quotes, as `repr` of Python 2 writes it.
fn quoted(line: &[u8]) -> Parse<Vec<u8>> {
    let inner = match line {
        [b'\'', inner @ .., b'\''] | [b'"', inner @ .., b'"'] => inner,
        _ => refuse!("a text is not in quotes: the pickle is damaged"),
    };
    let mut bytes = Vec::with_capacity(inner.len());
    let mut rest = inner.iter().copied();
    while let Some(byte) = rest.next() {
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        match rest.next() {
            Some(b'n') => bytes.push(b'\n'),
            Some(b'r') => bytes.push(b'\r'),
            Some(b't') => bytes.push(b'\t'),
            Some(b'x') => {
                let code = hexadecimal(&mut rest, 2)?;
                bytes.push(code as u8);
            }
            Some(other @ (b'\\' | b'\'' | b'"')) => bytes.push(other),
            _ => refuse!("a text has an unknown escape: the pickle is damaged"),
        }
    }
    Ok(bytes)
}

fn hexadecimal(rest: &mut impl Iterator<Item = u8>, digits: usize) -> Parse<u32> {
    let mut code = 0;
    for _ in 0..digits {
        let digit = rest.next().and_then(|b| char::from(b).to_digit(16));
        match digit {
            Some(digit) => code = code << 4 | digit,
            None => refuse!("a text has a broken escape: the pickle is damaged"),
        }
    }
    Ok(code)
}

/// Latin-1 with `\uXXXX` escapes, as UTF-8.
fn escaped(line: &[u8]) -> Parse<Vec<u8>> {
    let mut text = String::with_capacity(line.len());
    let mut rest = line.iter().copied().peekable();
    while let Some(byte) = rest.next() {
        let digits = match (byte, rest.peek()) {
            (b'\\', Some(b'u')) => 4,
            (b'\\', Some(b'U')) => 8,
            _ => {
                text.push(char::from(byte));
                continue;
            }
        };
        rest.next();
        let code = hexadecimal(&mut rest, digits)?;
        text.push(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
    }
    Ok(text.into_bytes())
}
