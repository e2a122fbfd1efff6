//! Postcard into a vector that has room for it already: byte by byte, or into one that grows from nothing, takes three
//! times as long.

use postcard::ser_flavors::Flavor;
use serde::Serialize;

/// `value` behind what is in `bytes`.
pub(crate) fn append(value: &impl Serialize, bytes: Vec<u8>) -> postcard::Result<Vec<u8>> {
    postcard::serialize_with_flavor(value, Behind(bytes))
}

struct Behind(Vec<u8>);

impl Flavor for Behind {
    type Output = Vec<u8>;

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.0.push(byte);
        Ok(())
    }

    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<Vec<u8>> {
        Ok(self.0)
    }
}
