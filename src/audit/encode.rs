//! Records as JSON. A record is written for every statement and again for every result, so what many of
//! them share is written once and copied from then on.

use serde::Serialize;
use serde::ser::Error;

use super::record::AuditRecord;
use super::rendered::Rendered;
use crate::time::Timestamp;

/// Writes one record after the other, each in the same memory.
#[derive(Debug, Default)]
pub struct Encoder {
    out: Vec<u8>,
    /// The second whose time was written last, and how: it changes seldom.
    second: Option<(u64, String)>,
}

const MICROS_A_SECOND: u64 = 1_000_000;

/// Memory that is kept for the next record, bytes.
const KEPT: usize = 16 << 10;

impl Encoder {
    /// The record as the JSON object that [`Chain::append`](super::chain::Chain::append) takes.
    ///
    /// # Errors
    /// When it cannot be written, which no field of it can bring about.
    pub fn encode(&mut self, record: &AuditRecord) -> Result<&[u8], serde_json::Error> {
        self.out.clear();
        self.out.shrink_to(KEPT);
        self.time(record.time);
        let mut object = Object(&mut self.out);
        // Named one by one, so that no field is forgotten.
        let AuditRecord {
            time: _,
            kind,
            who,
            statement,
            actor,
            grants,
            request,
            reason,
            text,
            parameters,
            class,
            command,
            needs,
            decision,
            missing,
            backend,
            route,
            rows,
            bytes,
            duration_us,
            sqlstate,
            outcome,
            privileges,
            expires,
            event,
            second_lock,
            lost,
        } = record;
        object.member("kind", kind)?;
        object.members(who.as_deref())?;
        object.some("statement", statement.as_ref())?;
        object.some("actor", actor.as_ref())?;
        object.list("grants", grants)?;
        object.some("request", request.as_ref())?;
        object.some("reason", reason.as_ref())?;
        object.some("text", text.as_ref())?;
        object.list("parameters", parameters)?;
        object.some("class", class.as_ref())?;
        object.some("command", command.as_ref())?;
        object.members(needs.as_deref())?;
        object.some("decision", decision.as_ref())?;
        object.list("missing", missing)?;
        object.some("backend", backend.as_ref())?;
        object.some("route", route.as_ref())?;
        object.some("rows", rows.as_ref())?;
        object.some("bytes", bytes.as_ref())?;
        object.some("duration-us", duration_us.as_ref())?;
        object.some("sqlstate", sqlstate.as_ref())?;
        object.some("outcome", outcome.as_ref())?;
        object.list("privileges", privileges)?;
        object.some("expires", expires.as_ref())?;
        object.some("event", event.as_ref())?;
        object.some("second-lock", second_lock.as_ref())?;
        object.some("lost", lost.as_ref())?;
        self.out.push(b'}');
        Ok(&self.out)
    }

    /// Begins the object with its time, as [`Timestamp`] shows itself.
    fn time(&mut self, time: Timestamp) {
        let second = time.micros() / MICROS_A_SECOND;
        if self.second.as_ref().is_none_or(|(known, _)| *known != second) {
            let mut shown = Timestamp::from_micros(second * MICROS_A_SECOND).to_string();
            shown.truncate(shown.rfind('.').unwrap_or(shown.len()));
            self.second = Some((second, shown));
        }
        self.out.extend_from_slice(b"{\"time\":\"");
        if let Some((_, shown)) = &self.second {
            self.out.extend_from_slice(shown.as_bytes());
        }
        let mut fraction = time.micros() % MICROS_A_SECOND;
        let mut digits = *b".000000Z\"";
        for digit in digits.iter_mut().take(7).skip(1).rev() {
            *digit += u8::try_from(fraction % 10).unwrap_or_default();
            fraction /= 10;
        }
        self.out.extend_from_slice(&digits);
    }
}

/// An object that has a member.
struct Object<'a>(&'a mut Vec<u8>);

impl Object<'_> {
    fn member(&mut self, name: &str, value: &impl Serialize) -> Result<(), serde_json::Error> {
        self.0.extend_from_slice(b",\"");
        self.0.extend_from_slice(name.as_bytes());
        self.0.extend_from_slice(b"\":");
        serde_json::to_writer(&mut *self.0, value)
    }

    fn some(
        &mut self,
        name: &str,
        value: Option<&impl Serialize>,
    ) -> Result<(), serde_json::Error> {
        value.map_or(Ok(()), |value| self.member(name, value))
    }

    fn list(&mut self, name: &str, values: &[impl Serialize]) -> Result<(), serde_json::Error> {
        if values.is_empty() { Ok(()) } else { self.member(name, &values) }
    }

    fn members<T>(&mut self, rendered: Option<&Rendered<T>>) -> Result<(), serde_json::Error> {
        let Some(rendered) = rendered else { return Ok(()) };
        let members =
            rendered.members().ok_or_else(|| serde_json::Error::custom("it is no object"))?;
        if !members.is_empty() {
            self.0.push(b',');
            self.0.extend_from_slice(members);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::record::{Kind, Who};

    #[test]
    fn a_time_is_written_as_it_shows_itself() {
        let mut encoder = Encoder::default();
        for micros in [0, 1, 999_999, 1_000_000, 1_764_000_000_123_456, 1_764_000_000_000_007] {
            let time = Timestamp::from_micros(micros);
            let record = AuditRecord::new(Kind::Gap, time);
            let json = String::from_utf8(encoder.encode(&record).unwrap().to_vec()).unwrap();
            assert_eq!(json, format!("{{\"time\":\"{time}\",\"kind\":\"gap\"}}"));
        }
    }

    #[test]
    fn members_that_are_shared_stand_beside_the_others() {
        let mut record = AuditRecord::new(Kind::SessionStart, Timestamp::from_micros(0));
        record.concern(Who { principal: Some("a\"b".into()), ..Who::default() });
        record.statement = Some(7);
        let mut encoder = Encoder::default();
        let value: serde_json::Value =
            serde_json::from_slice(encoder.encode(&record).unwrap()).unwrap();
        assert_eq!((&value["principal"], &value["statement"]), (&"a\"b".into(), &7.into()));
        record.concern(Who::default());
        let value: serde_json::Value =
            serde_json::from_slice(encoder.encode(&record).unwrap()).unwrap();
        assert_eq!(value.as_object().unwrap().len(), 3);
    }
}
