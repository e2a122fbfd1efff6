//! The events that a handler recorded, as they are stored.

use std::cell::Cell;

use smallvec::SmallVec;

use crate::model::{DecodeError, Event, EventType};

/// A buffer that has grown larger than this is not kept for the next commit.
const LARGE: usize = 64 << 10;

thread_local! {
    /// The buffer of the last commit of this thread, for the next one.
    static PAYLOADS: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Events in the order they were recorded, each encoded.
#[derive(Debug, Default)]
pub(crate) struct Recording {
    /// The payloads, one behind the other.
    payloads: Vec<u8>,
    /// Of each event its type, and where its payload ends.
    events: SmallVec<[(EventType, usize); 1]>,
    /// Why an event can't be stored. The first such event counts.
    refused: Option<Box<DecodeError>>,
}

impl Recording {
    /// Adds `event`. One that can't be stored makes the whole recording one that can't be.
    pub(crate) fn push<E: Event>(&mut self, event: &E) {
        if self.events.is_empty() {
            self.payloads = PAYLOADS.take();
            self.payloads.clear();
        }
        let begin = self.payloads.len();
        let encoded = event
            .encode(&mut self.payloads)
            .and_then(|ty| read_back::<E>(ty, &self.payloads[begin..]));
        let ty = encoded.unwrap_or_else(|error| {
            self.refused.get_or_insert_with(|| Box::new(error));
            EventType { name: "", version: 0 }
        });
        self.events.push((ty, self.payloads.len()));
    }

    pub(crate) fn len(&self) -> usize {
        self.events.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// The type and the payload of each event.
    ///
    /// # Errors
    /// [`DecodeError`] when one can't be stored.
    pub(crate) fn events(&self) -> Result<impl Iterator<Item = (EventType, &[u8])>, DecodeError> {
        if let Some(error) = &self.refused {
            return Err((**error).clone());
        }
        let mut begin = 0;
        Ok(self.events.iter().map(move |&(ty, end)| {
            let payload = &self.payloads[begin..end];
            begin = end;
            (ty, payload)
        }))
    }

    /// Keeps the buffer for the next commit of this thread.
    pub(crate) fn recycle(self) {
        if self.payloads.capacity() <= LARGE {
            PAYLOADS.set(self.payloads);
        }
    }
}

/// What derived code encodes has been read back. In a build with debug assertions, as tests are, so is what an impl of
/// [`Event`] that is written by hand does.
fn read_back<E: Event>(ty: EventType, payload: &[u8]) -> Result<EventType, DecodeError> {
    if cfg!(debug_assertions) && !matches!(E::decode(ty.name, ty.version, payload), Ok(Some(_))) {
        let reason = "its `Event::decode` does not read what `encode` wrote";
        return Err(DecodeError::Encode(ty, reason.to_owned()));
    }
    Ok(ty)
}

#[cfg(test)]
mod tests {
    use serde::{Deserialize, Serialize};

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize, catga_macros::Event)]
    #[event(name = "RecordingNoted")]
    struct Noted {
        text: String,
    }

    #[derive(Serialize, Deserialize, catga_macros::Event)]
    #[event(name = "RecordingSkipping")]
    struct Skipping {
        inner: Inner,
    }

    #[derive(Serialize, Deserialize)]
    struct Inner {
        #[serde(skip_serializing_if = "Option::is_none")]
        text: Option<String>,
    }

    #[test]
    fn events_are_encoded_in_order() {
        let mut recording = Recording::default();
        for text in ["a", "", "bcd"] {
            recording.push(&Noted { text: text.to_owned() });
        }
        let events = recording.events().unwrap();
        let texts: Vec<_> = events
            .map(|(ty, payload)| Noted::decode(ty.name, ty.version, payload).unwrap().unwrap().text)
            .collect();
        assert_eq!(texts, ["a", "", "bcd"]);
    }

    #[test]
    fn an_event_that_cant_be_read_back_is_refused() {
        let mut recording = Recording::default();
        recording.push(&Skipping { inner: Inner { text: Some("x".to_owned()) } });
        assert!(recording.events().is_ok());
        recording.push(&Skipping { inner: Inner { text: None } });
        let Err(error) = recording.events() else { panic!("it can't be read back") };
        let text = error.to_string();
        assert!(
            text.starts_with("`RecordingSkipping v1` can't be stored: its field `inner.text`"),
            "{text}"
        );
    }
}
