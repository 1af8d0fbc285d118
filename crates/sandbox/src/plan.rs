//! Plans: lists of system calls, made here as plain data, and carried out where a sandbox is built
//! (`init/init.rs`, which has the layout).

/// The keeper's and a zygote's buffer for a plan, in bytes.
const PLAN_MAX: usize = 8192 * 8;
/// As in `init/init.rs`.
const RECEIVE: u64 = 1 << 32;
/// As in `init/init.rs`.
const FORK: u64 = 1 << 33;

/// An argument of a system call.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Arg {
    /// A number.
    Value(u64),
    /// What lies in the plan, by its offset.
    Data(usize),
    /// What an earlier call returned, or a descriptor that came with the plan.
    Register(u8),
}

impl From<i32> for Arg {
    fn from(value: i32) -> Self {
        Self::Value(i64::from(value).cast_unsigned())
    }
}

impl From<u32> for Arg {
    fn from(value: u32) -> Self {
        Self::Value(value.into())
    }
}

impl From<u64> for Arg {
    fn from(value: u64) -> Self {
        Self::Value(value)
    }
}

/// A list of system calls and the data they point to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Plan {
    calls: Vec<[u64; 8]>,
    relocations: Vec<u64>,
    data: Vec<u8>,
}

/// The last call, to say more of it.
pub(crate) struct Last<'a>(&'a mut u64);

impl Last<'_> {
    /// Keeps the result in a register, below 31.
    pub(crate) fn save(self, register: u8) -> Self {
        assert!(register < 31, "the last register is the interpreter's");
        *self.0 |= (u64::from(register) + 1) << 16;
        self
    }

    /// The plan goes on when the call fails.
    pub(crate) fn may_fail(self) {
        *self.0 |= 1 << 24;
    }
}

impl Plan {
    /// Adds a system call, by its number in `libc::SYS_…`.
    pub(crate) fn call(&mut self, number: i64, arguments: &[Arg]) -> Last<'_> {
        self.push(number.cast_unsigned(), arguments)
    }

    fn push(&mut self, number: u64, arguments: &[Arg]) -> Last<'_> {
        assert!(arguments.len() <= 6, "system calls have six arguments");
        let mut words = [0; 8];
        words[0] = number;
        for (at, argument) in arguments.iter().enumerate() {
            let (tag, word) = match *argument {
                Arg::Value(value) => (0, value),
                Arg::Data(offset) => (1, offset as u64),
                Arg::Register(register) => (2, u64::from(register)),
            };
            words[1] |= tag << (2 * at);
            words[2 + at] = word;
        }
        self.calls.push(words);
        let last = self.calls.last_mut().expect("it was pushed just now");
        Last(&mut last[1])
    }

    /// Waits for another plan on a socket, which takes the place of the rest of this one.
    pub(crate) fn receive(&mut self, socket: impl Into<Arg>) {
        self.push(RECEIVE, &[socket.into()]);
    }

    /// Forks. The child goes on; the parent goes on behind what `child` adds, and reaps at last.
    pub(crate) fn fork(&mut self, child: impl FnOnce(&mut Self)) {
        let at = self.calls.len();
        self.push(FORK, &[]);
        child(self);
        let behind = self.calls.len() as u64;
        self.calls[at][2] = behind;
    }

    /// Bytes, aligned to 8.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> Arg {
        self.data.resize(self.data.len().next_multiple_of(8), 0);
        let at = self.data.len();
        self.data.extend_from_slice(bytes);
        Arg::Data(at)
    }

    /// A text with the NUL that ends it. It has none inside, or the kernel sees only its front.
    pub(crate) fn text(&mut self, text: impl AsRef<[u8]>) -> Arg {
        let at = self.data.len();
        self.data.extend_from_slice(text.as_ref());
        self.data.push(0);
        Arg::Data(at)
    }

    /// Numbers in native order, as C structures have them.
    pub(crate) fn words(&mut self, words: &[u64]) -> Arg {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        self.bytes(&bytes)
    }

    /// A structure whose second word points to `target`.
    pub(crate) fn counted(&mut self, count: u64, target: Arg) -> Arg {
        let structure = self.words(&[count, 0]);
        self.point(structure, 8, target);
        structure
    }

    /// Pointers to texts, NULL at the end.
    pub(crate) fn texts<T: AsRef<[u8]>>(&mut self, texts: impl IntoIterator<Item = T>) -> Arg {
        let targets: Vec<Arg> = texts.into_iter().map(|text| self.text(text)).collect();
        let array = self.words(&vec![0; targets.len() + 1]);
        for (at, target) in targets.into_iter().enumerate() {
            self.point(array, 8 * at, target);
        }
        array
    }

    fn point(&mut self, place: Arg, offset: usize, target: Arg) {
        let (Arg::Data(place), Arg::Data(target)) = (place, target) else {
            unreachable!("both were made by this plan");
        };
        self.relocations
            .push(((place + offset) as u64) << 32 | target as u64);
    }

    /// What the interpreter reads; None when it is longer than its buffer.
    pub(crate) fn encode(&self) -> Option<Vec<u8>> {
        let head = [self.calls.len(), self.relocations.len(), self.data.len()];
        let head = head.iter().map(|n| *n as u64);
        let words = head
            .chain(self.relocations.iter().copied())
            .chain(self.calls.iter().flatten().copied());
        let mut bytes: Vec<u8> = words.flat_map(u64::to_ne_bytes).collect();
        bytes.extend_from_slice(&self.data);
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        // A word goes before it on its way to the keeper.
        (bytes.len() + 8 <= PLAN_MAX).then_some(bytes)
    }
}
