//! Records as JSON. A record is written for every statement and again for every result, so what many of
//! them share is written once and copied from then on.

use serde::Serialize;
use serde::ser::Error;

use super::record::{AuditRecord, Outcome, Text, Verdict};
use super::rendered::Rendered;
use crate::sql::statement::Class;
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
            rule,
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
        object.word(b",\"kind\":", Some(kind.word()));
        object.members(who.as_deref())?;
        object.some(b",\"statement\":", statement.as_ref())?;
        object.text(b",\"actor\":", actor.as_deref())?;
        object.texts(b",\"grants\":", grants)?;
        object.text(b",\"request\":", request.as_deref())?;
        object.text(b",\"reason\":", reason.as_deref())?;
        match text {
            Some(Text::Sql(sql)) => object.text(b",\"text\":", Some(sql))?,
            Some(opaque) => object.value(b",\"text\":", opaque)?,
            None => (),
        }
        if !parameters.is_empty() {
            object.value(b",\"parameters\":", parameters)?;
        }
        object.word(b",\"class\":", class.map(Class::word));
        object.word(b",\"command\":", *command);
        object.members(needs.as_deref())?;
        object.word(b",\"decision\":", decision.map(Verdict::word));
        object.texts(b",\"missing\":", missing)?;
        object.text(b",\"backend\":", backend.as_deref())?;
        object.word(b",\"route\":", *route);
        object.text(b",\"rule\":", rule.as_deref())?;
        object.some(b",\"rows\":", rows.as_ref())?;
        object.some(b",\"bytes\":", bytes.as_ref())?;
        object.some(b",\"duration-us\":", duration_us.as_ref())?;
        object.text(b",\"sqlstate\":", sqlstate.as_deref())?;
        object.word(b",\"outcome\":", outcome.map(Outcome::word));
        object.texts(b",\"privileges\":", privileges)?;
        object.some(b",\"expires\":", expires.as_ref())?;
        object.word(b",\"event\":", *event);
        object.word(b",\"second-lock\":", *second_lock);
        object.some(b",\"lost\":", lost.as_ref())?;
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

/// An object that has a member. A member comes with its name as it stands in the line, comma and colon
/// included: most of what is written are names.
struct Object<'a>(&'a mut Vec<u8>);

/// Whether JSON has a byte escaped in a string.
const fn is_special(byte: u8) -> bool {
    byte < b' ' || byte == b'"' || byte == b'\\'
}

impl Object<'_> {
    fn value(
        &mut self,
        name: &'static [u8],
        value: &impl Serialize,
    ) -> Result<(), serde_json::Error> {
        self.0.extend_from_slice(name);
        serde_json::to_writer(&mut *self.0, value)
    }

    fn some(
        &mut self,
        name: &'static [u8],
        value: Option<&impl Serialize>,
    ) -> Result<(), serde_json::Error> {
        value.map_or(Ok(()), |value| self.value(name, value))
    }

    /// A word of the program's own, in which nothing is to be escaped.
    fn word(&mut self, name: &'static [u8], word: Option<&'static str>) {
        let Some(word) = word else { return };
        debug_assert!(!word.bytes().any(is_special), "{word}");
        self.0.extend_from_slice(name);
        self.0.push(b'"');
        self.0.extend_from_slice(word.as_bytes());
        self.0.push(b'"');
    }

    fn text(&mut self, name: &'static [u8], text: Option<&str>) -> Result<(), serde_json::Error> {
        let Some(text) = text else { return Ok(()) };
        self.0.extend_from_slice(name);
        self.string(text)
    }

    fn texts<T: AsRef<str>>(
        &mut self,
        name: &'static [u8],
        texts: &[T],
    ) -> Result<(), serde_json::Error> {
        let Some((first, rest)) = texts.split_first() else { return Ok(()) };
        self.0.extend_from_slice(name);
        self.0.push(b'[');
        self.string(first.as_ref())?;
        for text in rest {
            self.0.push(b',');
            self.string(text.as_ref())?;
        }
        self.0.push(b']');
        Ok(())
    }

    fn string(&mut self, text: &str) -> Result<(), serde_json::Error> {
        // Seldom is anything to be escaped, and to see that costs a tenth of looking at each byte in turn.
        if text.bytes().fold(false, |any, byte| any | is_special(byte)) {
            return serde_json::to_writer(&mut *self.0, text);
        }
        self.0.push(b'"');
        self.0.extend_from_slice(text.as_bytes());
        self.0.push(b'"');
        Ok(())
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
    use proptest::prelude::{any, prop_assert_eq, proptest};

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

    proptest! {
        #[test]
        fn every_text_is_read_back_as_it_was(text in any::<String>(), more in any::<String>()) {
            let mut record = AuditRecord::new(Kind::Decision, Timestamp::from_micros(0));
            record.reason = Some(text.as_str().into());
            record.text = Some(Text::Sql(more.as_str().into()));
            record.missing = vec![text.as_str().into(), more.as_str().into()];
            let mut encoder = Encoder::default();
            let value: serde_json::Value =
                serde_json::from_slice(encoder.encode(&record).unwrap()).unwrap();
            prop_assert_eq!(&value["reason"], text.as_str());
            prop_assert_eq!(&value["text"], more.as_str());
            prop_assert_eq!(&value["missing"], &serde_json::json!([text, more]));
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
