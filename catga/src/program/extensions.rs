//! What the handlers of a program draw on, by type.

use std::{
    any::{Any, TypeId},
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
};

/// One value of each type: the program's own, and what the layers keep for each handler that needs it. It does not change
/// once the program runs.
#[derive(Default)]
pub(crate) struct Extensions {
    values: HashMap<TypeId, Box<dyn Any + Send + Sync>, BuildHasherDefault<TypeIdHasher>>,
}

impl Extensions {
    pub(crate) fn has<T: Any>(&self) -> bool {
        self.values.contains_key(&TypeId::of::<T>())
    }

    pub(crate) fn insert<T: Any + Send + Sync>(&mut self, value: T) {
        self.values.insert(TypeId::of::<T>(), Box::new(value));
    }

    /// The value of type `T`, put there by default when there is none.
    pub(crate) fn get_or_default<T: Any + Send + Sync + Default>(&mut self) -> &mut T {
        let value = self.values.entry(TypeId::of::<T>()).or_insert_with(|| Box::<T>::default());
        value.downcast_mut().expect("values are kept by their type")
    }

    /// Takes the value of type `T` out; its default when there is none.
    pub(crate) fn take<T: Any + Send + Sync + Default>(&mut self) -> T {
        std::mem::take(self.get_or_default())
    }

    /// The value of type `T`, which was checked to be there when the program started.
    pub(crate) fn expect<T: Any + Send + Sync>(&self) -> &T {
        self.values
            .get(&TypeId::of::<T>())
            .and_then(|value| value.downcast_ref())
            .expect("every value a handler declares is checked at start")
    }
}

/// A `TypeId` is a hash already.
#[derive(Default)]
struct TypeIdHasher(u64);

impl Hasher for TypeIdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(byte);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}
