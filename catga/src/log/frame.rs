//! The bytes of a commit frame, in [postcard's wire format](https://postcard.jamesmunns.com/wire-format): every command
//! writes a frame and every reader of the log reads it, and by hand that takes a third of what it takes through serde.

use uuid::Uuid;

/// Adds values to the end of a buffer.
pub(crate) struct FrameWriter<'b>(pub(crate) &'b mut Vec<u8>);

impl FrameWriter<'_> {
    pub(crate) fn number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push(number.to_le_bytes()[0] | 0x80);
            number >>= 7;
        }
        self.0.push(number.to_le_bytes()[0]);
    }

    /// Zig-zag: small numbers of either sign are short.
    pub(crate) fn signed(&mut self, number: i64) {
        self.number(((number << 1) ^ (number >> 63)).cast_unsigned());
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    pub(crate) fn option<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Self, T)) {
        self.0.push(u8::from(value.is_some()));
        if let Some(value) = value {
            write(self, value);
        }
    }
}

/// Takes values from the front of what is left of a frame. `None` says that the bytes are not such a value.
pub(crate) struct FrameReader<'a>(pub(crate) &'a [u8]);

impl<'a> FrameReader<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (&byte, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(byte)
    }

    pub(crate) fn number(&mut self) -> Option<u64> {
        let first = self.byte()?;
        if first < 0x80 {
            return Some(first.into());
        }
        let mut number = u64::from(first & 0x7f);
        for shift in (7..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            number |= bits << shift;
            if byte < 0x80 {
                // The tenth byte has room for one bit.
                return (bits << shift >> shift == bits).then_some(number);
            }
        }
        None
    }

    pub(crate) fn signed(&mut self) -> Option<i64> {
        let number = self.number()?;
        Some((number >> 1).cast_signed() ^ -(number & 1).cast_signed())
    }

    pub(crate) fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.number()?).ok()?;
        let (bytes, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(bytes)
    }

    pub(crate) fn text(&mut self) -> Option<&'a str> {
        std::str::from_utf8(self.bytes()?).ok()
    }

    pub(crate) fn uuid(&mut self) -> Option<Uuid> {
        Uuid::from_slice(self.bytes()?).ok()
    }

    pub(crate) fn option<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Option<T>,
    ) -> Option<Option<T>> {
        match self.byte()? {
            0 => Some(None),
            1 => read(self).map(Some),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(write: impl FnOnce(&mut FrameWriter<'_>)) -> Vec<u8> {
        let mut bytes = Vec::new();
        write(&mut FrameWriter(&mut bytes));
        bytes
    }

    proptest! {
        #[test]
        fn values_are_written_and_read_as_postcard_does(
            number: u64, signed: i64, text: String, bytes: Option<Vec<u8>>, shift in 0..64_u32,
        ) {
            let (number, signed) = (number >> shift, signed >> shift);
            let value = (number, signed, &text, &bytes);
            let written = written(|frame| {
                frame.number(number);
                frame.signed(signed);
                frame.bytes(text.as_bytes());
                frame.option(bytes.as_deref(), FrameWriter::bytes);
            });
            prop_assert_eq!(&written, &postcard::to_stdvec(&value).unwrap());
            let mut frame = FrameReader(&written);
            prop_assert_eq!(frame.number(), Some(number));
            prop_assert_eq!(frame.signed(), Some(signed));
            prop_assert_eq!(frame.text(), Some(text.as_str()));
            prop_assert_eq!(frame.option(FrameReader::bytes), Some(bytes.as_deref()));
            prop_assert!(frame.0.is_empty());
        }

        #[test]
        fn any_bytes_are_the_number_that_postcard_takes_them_for(bytes in prop::collection::vec(0x70_u8.., 0..12)) {
            let mut frame = FrameReader(&bytes);
            let expected = postcard::take_from_bytes::<u64>(&bytes).ok();
            let read = frame.number().map(|number| (number, frame.0));
            prop_assert_eq!(read, expected);
        }
    }

    #[test]
    fn numbers_of_more_than_64_bits_are_refused() {
        let longest = [&[0xff; 9][..], &[0x01]].concat();
        assert_eq!(FrameReader(&longest).number(), Some(u64::MAX));
        for tenth in [0x02, 0x7f, 0x80] {
            let bytes = [&[0xff; 9][..], &[tenth, 0]].concat();
            assert_eq!(FrameReader(&bytes).number(), None, "{tenth:x}");
        }
    }
}
