//! Decisions from a fuzzer's bytes. When they are used up, every decision is 0.

pub(super) struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Input<'a> {
        Input(bytes)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn byte(&mut self) -> u8 {
        match self.0.split_first() {
            Some((first, rest)) => {
                self.0 = rest;
                *first
            }
            None => 0,
        }
    }

    pub(super) fn word(&mut self) -> u16 {
        u16::from_le_bytes([self.byte(), self.byte()])
    }

    pub(super) fn long(&mut self) -> u64 {
        let mut out = [0; 8];
        out.fill_with(|| self.byte());
        u64::from_le_bytes(out)
    }

    /// A number below `n`, from two bytes.
    pub(super) fn below(&mut self, n: usize) -> usize {
        usize::from(self.word()) % n.max(1)
    }

    pub(super) fn rest(self) -> &'a [u8] {
        self.0
    }
}
