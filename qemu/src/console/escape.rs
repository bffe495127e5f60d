//! Escape sequences of terminals, which are removed from lines.

/// The position in an escape sequence of a terminal (ECMA-48: CSI, OSC, and short ones).
#[derive(Default, Clone, Copy)]
pub(super) enum Escape {
    #[default]
    Outside,
    Begun,
    /// `ESC (` and similar: one more byte.
    Short,
    /// `ESC [`, up to a byte from `@` to `~`.
    Control,
    /// `ESC ]`, up to BEL or `ESC \`.
    Command,
}

impl Escape {
    /// Whether `byte` belongs to an escape sequence.
    pub(super) fn swallows(&mut self, byte: u8) -> bool {
        let next = match (*self, byte) {
            (_, 0x1b) => Self::Begun,
            (Self::Begun, b'[') => Self::Control,
            (Self::Begun, b']') => Self::Command,
            (Self::Begun, 0x20..=0x2f) => Self::Short,
            (Self::Control, 0x20..=0x3f) | (Self::Command, 0x20..) => *self,
            _ => Self::Outside,
        };
        // A newline ends an incomplete sequence.
        let swallowed = byte == 0x1b || (!matches!(self, Self::Outside) && byte != b'\n');
        *self = next;
        swallowed
    }
}
