//! What services hand in: requests of events and their answers.

use super::measure::{self, undecodable};
use super::{batch, v1};
use crate::event::{Event, EventError};
use crate::refused::Refused;
use crate::report::{Durability, EventRefusal, EventsAnswer};
use bytes::{Buf, BufMut};
use prost::Message;

/// A request of events as it came: perhaps not readable, and not yet believed.
#[derive(Clone, Debug, PartialEq)]
pub struct RawEvents(Result<v1::ReportEventsRequest, Refused>);

/// The events of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportedEvents {
    /// Each in its place; one that is wrong costs itself.
    pub events: Vec<Result<Event, EventError>>,
    /// How many attributes they had. None is kept: their allow-list is to come.
    pub attributes: u64,
}

// === impl RawEvents ===

impl RawEvents {
    /// What a service sends.
    pub fn new(events: &[Event]) -> Self {
        Self(Ok(v1::ReportEventsRequest { events: events.iter().map(batch::event_to_wire).collect() }))
    }

    /// The events, each checked; refused where the request cannot be read or has too many.
    pub fn check(self) -> Result<ReportedEvents, Refused> {
        let request = self.0?;
        let attributes = request.events.iter().map(|event| event.attributes.len() as u64).sum();
        Ok(ReportedEvents { events: request.events.iter().map(batch::event_from_wire).collect(), attributes })
    }
}

/// Encodes a request. One that could not be read has nothing to say.
pub fn encode_raw_events(events: RawEvents, buffer: &mut impl BufMut) {
    let request = events.0.unwrap_or_default();
    request.encode(buffer).expect("a growable buffer takes any message");
}

/// Decodes a request; its contents stay raw.
pub fn decode_raw_events(mut buffer: impl Buf) -> RawEvents {
    let bytes = buffer.copy_to_bytes(buffer.remaining());
    let counted = measure::check_report(&bytes);
    RawEvents(counted.and_then(|()| v1::ReportEventsRequest::decode(bytes).map_err(undecodable)))
}

// === answers ===

/// Encodes an answer.
pub fn encode_events_answer(answer: EventsAnswer, buffer: &mut impl BufMut) {
    use v1::report_events_response::Durability as D;
    let durability = match answer.durability {
        Durability::Durable => D::Durable,
        Durability::Fast => D::Fast,
    };
    let refused = answer.refused.into_iter();
    let wire = v1::ReportEventsResponse {
        durability: durability.into(),
        accepted: answer.accepted,
        refused: refused
            .map(|EventRefusal { index, reason, message }| v1::EventRefusal { index, reason, message })
            .collect(),
    };
    wire.encode(buffer).expect("a growable buffer takes any message");
}

/// Decodes an answer. A durability from the future is taken for the least.
pub fn decode_events_answer(buffer: impl Buf) -> Result<EventsAnswer, Refused> {
    use v1::report_events_response::Durability as D;
    let wire = v1::ReportEventsResponse::decode(buffer).map_err(undecodable)?;
    let durability = if wire.durability() == D::Durable { Durability::Durable } else { Durability::Fast };
    let refused = wire.refused.into_iter();
    let refused = refused.map(|v1::EventRefusal { index, reason, message }| EventRefusal { index, reason, message });
    Ok(EventsAnswer { durability, accepted: wire.accepted, refused: refused.collect() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::EVENTS_PER_BATCH_MAX;
    use crate::sample::Timestamp;
    use std::collections::BTreeMap;
    use uuid::Uuid;

    fn event(key: &str) -> Event {
        Event::try_new("appointment.created", &Uuid::from_u128(42).to_string(), Timestamp::from_millis(7), key)
            .expect("fine")
    }

    fn through_the_wire(events: RawEvents) -> RawEvents {
        let mut bytes = Vec::new();
        encode_raw_events(events, &mut bytes);
        decode_raw_events(bytes.as_slice())
    }

    #[test]
    fn events_come_out_as_they_went_in() {
        let events = [event("a"), event("b")];
        let checked = through_the_wire(RawEvents::new(&events)).check().expect("readable");
        assert_eq!(checked, ReportedEvents { events: events.map(Ok).to_vec(), attributes: 0 });
    }

    #[test]
    fn an_event_that_is_wrong_costs_itself_and_attributes_are_counted_and_left_out() {
        let fine = batch::event_to_wire(&event("a"));
        let attributes = BTreeMap::from([("name".to_string(), "Maria".to_string()), ("channel".into(), "web".into())]);
        let wrong = v1::Event { clinic_id: "42".into(), attributes, ..fine.clone() };
        let request = RawEvents(Ok(v1::ReportEventsRequest { events: vec![wrong, fine] }));
        let checked = through_the_wire(request).check().expect("readable");
        assert_eq!(checked.events, [Err(EventError::ClinicId), Ok(event("a"))]);
        assert_eq!(checked.attributes, 2);
    }

    #[test]
    fn too_many_events_are_refused_before_they_are_built_and_so_is_what_is_no_message() {
        let many = vec![v1::Event::default(); EVENTS_PER_BATCH_MAX + 1];
        let request = RawEvents(Ok(v1::ReportEventsRequest { events: many }));
        assert_eq!(through_the_wire(request).check(), Err(Refused::TooManyEvents(EVENTS_PER_BATCH_MAX + 1)));
        assert!(matches!(decode_raw_events(&b"\xff\xff"[..]).check(), Err(Refused::Undecodable(_))));
    }

    #[test]
    fn an_answer_comes_back_as_it_was() {
        for durability in [Durability::Durable, Durability::Fast] {
            let refused = vec![EventRefusal { index: 3, reason: "unknown_type".into(), message: "no".into() }];
            let answer = EventsAnswer { durability, accepted: 2, refused };
            let mut bytes = Vec::new();
            encode_events_answer(answer.clone(), &mut bytes);
            assert_eq!(decode_events_answer(bytes.as_slice()), Ok(answer));
        }
        let from_the_future = v1::ReportEventsResponse { durability: 9, ..v1::ReportEventsResponse::default() };
        let answer = decode_events_answer(from_the_future.encode_to_vec().as_slice()).expect("readable");
        assert_eq!(answer.durability, Durability::Fast, "no more is promised than was understood");
    }
}
