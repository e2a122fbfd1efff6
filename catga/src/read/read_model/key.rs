//! The keys of rows.

use uuid::Uuid;

/// What tells the rows of a table apart: text, a number or a [`Uuid`].
///
/// For a type of one's own, encode what is inside it:
///
/// ```
/// use catga::read_model::Key;
///
/// struct Seat(u16);
///
/// impl Key for Seat {
///     type Borrowed = Self;
///
///     fn encode(seat: &Seat, bytes: &mut Vec<u8>) {
///         u16::encode(&seat.0, bytes);
///     }
///
///     fn decode(bytes: &[u8]) -> Option<Seat> {
///         u16::decode(bytes).map(Seat)
///     }
/// }
/// ```
pub trait Key: Sized {
    /// What a row is looked up by: `str` for a `String`, otherwise mostly the key itself.
    type Borrowed: ?Sized;

    /// Adds the key to the end of `bytes`. Different keys have different bytes.
    fn encode(key: &Self::Borrowed, bytes: &mut Vec<u8>);

    /// The key that was encoded as `bytes`; `None` when it is not one.
    fn decode(bytes: &[u8]) -> Option<Self>;
}

/// Before the 16 bytes of a UUID. No text begins with it, as it is not UTF-8.
const UUID: u8 = 0xff;

/// Text. That of a UUID takes less than half of its length.
impl Key for String {
    type Borrowed = str;

    fn encode(key: &str, bytes: &mut Vec<u8>) {
        // Only the text that it is written as, with hyphens and without capitals: another one is another key.
        // All bytes are looked at, as that is faster than to stop at the first capital.
        let has_capitals = || key.bytes().fold(false, |has, byte| has | byte.is_ascii_uppercase());
        let is_as_written = key.len() == 36 && !has_capitals();
        match is_as_written.then(|| Uuid::try_parse(key).ok()).flatten() {
            Some(uuid) => {
                bytes.push(UUID);
                bytes.extend_from_slice(uuid.as_bytes());
            }
            None => bytes.extend_from_slice(key.as_bytes()),
        }
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        match bytes.split_first() {
            Some((&UUID, uuid)) => Uuid::from_slice(uuid).ok().map(|uuid| uuid.to_string()),
            _ => str::from_utf8(bytes).ok().map(str::to_owned),
        }
    }
}

impl Key for Uuid {
    type Borrowed = Self;

    fn encode(key: &Self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(key.as_bytes());
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        Self::from_slice(bytes).ok()
    }
}

macro_rules! numbers {
    ($($number:ty)*) => {$(
        impl Key for $number {
            type Borrowed = Self;

            fn encode(key: &Self, bytes: &mut Vec<u8>) {
                bytes.extend_from_slice(&key.to_le_bytes());
            }

            fn decode(bytes: &[u8]) -> Option<Self> {
                bytes.try_into().ok().map(Self::from_le_bytes)
            }
        }
    )*};
}

numbers!(u8 u16 u32 u64 u128 i8 i16 i32 i64 i128);
