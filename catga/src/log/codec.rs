//! Postcard into a vector that has room for it already: byte by byte, or into one that grows from nothing, takes three
//! times as long.

use postcard::ser_flavors::Flavor;
use serde::Serialize;

/// `value` behind what is in `bytes`. After an error a part of it may be there.
pub(crate) fn append(value: &impl Serialize, bytes: &mut Vec<u8>) -> postcard::Result<()> {
    postcard::serialize_with_flavor(value, Behind(bytes))
}

/// Puts what is encoded behind what is in the vector.
pub(crate) struct Behind<'b>(pub(crate) &'b mut Vec<u8>);

impl Flavor for Behind<'_> {
    type Output = ();

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.0.push(byte);
        Ok(())
    }

    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}
