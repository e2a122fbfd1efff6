//! Sets of places: which rows have an index entry.

use roaring::RoaringBitmap;
use smallvec::SmallVec;

/// From how many places on they are a bitmap, which takes some 250 bytes even for one.
const MANY: usize = 16;

/// A set of places, in order.
#[derive(Debug, Clone)]
pub(super) enum PlaceSet {
    Few(SmallVec<[u32; 4]>),
    /// With its length, which a bitmap adds up anew each time it is asked.
    Many(Box<(RoaringBitmap, u64)>),
}

impl Default for PlaceSet {
    fn default() -> Self {
        Self::Few(SmallVec::new())
    }
}

impl PlaceSet {
    pub(super) fn len(&self) -> u64 {
        match self {
            Self::Few(places) => places.len() as u64,
            Self::Many(many) => many.1,
        }
    }

    pub(super) fn insert(&mut self, place: u32) {
        match self {
            Self::Few(places) => {
                // Mostly it is a new row's, behind all others.
                if places.last().is_none_or(|&last| last < place) {
                    places.push(place);
                } else if let Err(index) = places.binary_search(&place) {
                    places.insert(index, place);
                }
                if places.len() >= MANY {
                    let bitmap: RoaringBitmap = places.iter().collect();
                    *self = Self::of(bitmap);
                }
            }
            Self::Many(many) => many.1 += u64::from(many.0.insert(place)),
        }
    }

    pub(super) fn remove(&mut self, place: u32) {
        match self {
            Self::Few(places) => {
                if let Ok(index) = places.binary_search(&place) {
                    places.remove(index);
                }
            }
            Self::Many(many) => {
                many.1 -= u64::from(many.0.remove(place));
                // Not at once, so that one place that comes and goes does not cost a conversion each time.
                if many.1 < MANY as u64 / 2 {
                    *self = Self::Few(many.0.iter().collect());
                }
            }
        }
    }

    fn contains(&self, place: u32) -> bool {
        match self {
            Self::Few(places) => places.binary_search(&place).is_ok(),
            Self::Many(many) => many.0.contains(place),
        }
    }

    fn of(bitmap: RoaringBitmap) -> Self {
        let length = bitmap.len();
        Self::Many(Box::new((bitmap, length)))
    }

    /// The places that are in both.
    pub(super) fn and(&self, other: &Self) -> Self {
        match (self, other) {
            (Self::Many(one), Self::Many(other)) => Self::of(&one.0 & &other.0),
            (Self::Few(few), many) | (many, Self::Few(few)) => {
                Self::Few(few.iter().copied().filter(|&place| many.contains(place)).collect())
            }
        }
    }

    /// The last `count` places below `end`, the last one first.
    pub(super) fn last_before(&self, end: u32, count: usize) -> Vec<u32> {
        match self {
            Self::Few(places) => {
                let below = places.partition_point(|&place| place < end);
                places[..below].iter().rev().take(count).copied().collect()
            }
            Self::Many(many) => many.0.range(..end).rev().take(count).collect(),
        }
    }

    /// All places, in order.
    pub(super) fn iter(&self) -> Box<dyn Iterator<Item = u32> + '_> {
        match self {
            Self::Few(places) => Box::new(places.iter().copied()),
            Self::Many(many) => Box::new(many.0.iter()),
        }
    }
}
