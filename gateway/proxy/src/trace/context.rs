// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! The context of a trace in headers: W3C Trace Context (`traceparent`), and B3 in both of its forms.

use http::{HeaderMap, HeaderName, HeaderValue};

static TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
static B3: HeaderName = HeaderName::from_static("b3");
static B3_TRACE: HeaderName = HeaderName::from_static("x-b3-traceid");
static B3_SPAN: HeaderName = HeaderName::from_static("x-b3-spanid");
static B3_PARENT: HeaderName = HeaderName::from_static("x-b3-parentspanid");
static B3_SAMPLED: HeaderName = HeaderName::from_static("x-b3-sampled");
static B3_FLAGS: HeaderName = HeaderName::from_static("x-b3-flags");

/// A span's place in its trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Context {
    pub(crate) trace: [u8; 16],
    pub(crate) span: [u8; 8],
    pub(crate) sampled: bool,
    form: Form,
}

/// In which headers it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    W3c,
    B3Single,
    B3,
}

impl Context {
    /// The context that a request came with; none where there is none that can be used.
    pub(crate) fn of(headers: &HeaderMap) -> Option<Self> {
        let value = |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
        if let Some(parent) = value(&TRACEPARENT) {
            return of_w3c(parent);
        }
        if let Some(single) = value(&B3) {
            let mut parts = single.split('-');
            let (trace, span) = (parts.next()?, parts.next()?);
            let sampled = matches!(parts.next(), Some("1" | "d"));
            return of_b3(trace, span, sampled, Form::B3Single);
        }
        let sampled = value(&B3_FLAGS) == Some("1") || matches!(value(&B3_SAMPLED), Some("1" | "true"));
        of_b3(value(&B3_TRACE)?, value(&B3_SPAN)?, sampled, Form::B3)
    }

    /// A span of its own: in the parent's trace, or in a new one.
    pub(crate) fn new(parent: Option<&Self>, sampled: bool) -> Self {
        // An id of zeros alone is invalid.
        let trace = parent.map_or_else(|| rand::random::<u128>().max(1).to_be_bytes(), |parent| parent.trace);
        let span = rand::random::<u64>().max(1).to_be_bytes();
        Self { trace, span, sampled, form: parent.map_or(Form::W3c, |parent| parent.form) }
    }

    /// The trace's id, as it is written.
    pub(crate) fn trace_id(&self) -> String {
        format!("{:032x}", u128::from_be_bytes(self.trace))
    }

    /// The span's id, as it is written.
    pub(crate) fn span_id(&self) -> String {
        format!("{:016x}", u64::from_be_bytes(self.span))
    }

    /// Tells the upstream, also in the form in which the parent came.
    pub(crate) fn tell(&self, headers: &mut HeaderMap, parent: Option<&Self>) {
        let mut set = |name: &HeaderName, value: String| {
            // Digits and dashes are always a value.
            if let Ok(value) = HeaderValue::try_from(value) {
                headers.insert(name.clone(), value);
            }
        };
        let (trace, span, flag) = (self.trace_id(), self.span_id(), u8::from(self.sampled));
        set(&TRACEPARENT, format!("00-{trace}-{span}-0{flag}"));
        let parent = parent.map(Self::span_id);
        match self.form {
            Form::W3c => {}
            Form::B3Single => {
                let parent = parent.map(|parent| format!("-{parent}")).unwrap_or_default();
                set(&B3, format!("{trace}-{span}-{flag}{parent}"));
            }
            Form::B3 => {
                set(&B3_TRACE, trace);
                set(&B3_SPAN, span);
                set(&B3_SAMPLED, flag.to_string());
                if let Some(parent) = parent {
                    set(&B3_PARENT, parent);
                }
            }
        }
    }
}

/// `version-trace-span-flags` (W3C Trace Context, 3.2); a later version may have more behind it.
fn of_w3c(text: &str) -> Option<Context> {
    let mut parts = text.split('-');
    let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let digits = |text: &str, length| text.len() == length && is_lower_hex(text);
    let good =
        digits(version, 2) && version != "ff" && digits(trace, 32) && digits(span, 16) && digits(flags, 2);
    if !good || (version == "00" && parts.next().is_some()) {
        return None;
    }
    let sampled = u8::from_str_radix(flags, 16).ok()? & 1 == 1;
    context(trace, span, sampled, Form::W3c)
}

/// Ids of traces may have 16 digits.
fn of_b3(trace: &str, span: &str, sampled: bool, form: Form) -> Option<Context> {
    let (trace, span) = (trace.to_ascii_lowercase(), span.to_ascii_lowercase());
    let good =
        matches!(trace.len(), 16 | 32) && span.len() == 16 && is_lower_hex(&trace) && is_lower_hex(&span);
    if good { context(&trace, &span, sampled, form) } else { None }
}

fn is_lower_hex(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn context(trace: &str, span: &str, sampled: bool, form: Form) -> Option<Context> {
    let trace = u128::from_str_radix(trace, 16).ok().filter(|id| *id != 0)?;
    let span = u64::from_str_radix(span, 16).ok().filter(|id| *id != 0)?;
    Some(Context { trace: trace.to_be_bytes(), span: span.to_be_bytes(), sampled, form })
}

#[cfg(test)]
mod tests {
    use super::Context;
    use http::HeaderMap;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const SPAN: &str = "00f067aa0ba902b7";

    #[test]
    fn a_traceparent_is_continued() {
        let given = headers(&[("traceparent", &format!("00-{TRACE}-{SPAN}-01"))]);
        let parent = Context::of(&given).unwrap();
        assert_eq!((parent.trace_id(), parent.span_id(), parent.sampled), (TRACE.into(), SPAN.into(), true));
        let mut told = given.clone();
        let own = Context::new(Some(&parent), parent.sampled);
        own.tell(&mut told, Some(&parent));
        assert_eq!(told["traceparent"], format!("00-{TRACE}-{}-01", own.span_id()).as_str());
        assert_ne!(own.span_id(), SPAN);
    }

    #[test]
    fn what_is_no_traceparent_is_not_continued() {
        let zeros = "0".repeat(32);
        for wrong in [
            String::new(),
            format!("00-{TRACE}-{SPAN}"),
            format!("00-{TRACE}-{SPAN}-01-more"),
            format!("ff-{TRACE}-{SPAN}-01"),
            format!("00-{zeros}-{SPAN}-01"),
            format!("00-{TRACE}-0000000000000000-01"),
            format!("00-{}-{SPAN}-01", TRACE.to_uppercase()),
            format!("00-{TRACE}é-{SPAN}-01"),
            format!("00-{}-{SPAN}-0x", &TRACE[1..]),
        ] {
            assert_eq!(Context::of(&headers(&[("traceparent", &wrong)])), None, "{wrong}");
        }
        let later = format!("cc-{TRACE}-{SPAN}-00-more");
        assert!(!Context::of(&headers(&[("traceparent", &later)])).unwrap().sampled);
    }

    #[test]
    fn b3_is_continued_in_the_form_in_which_it_came() {
        let single = headers(&[("b3", &format!("{TRACE}-{SPAN}-1"))]);
        let parent = Context::of(&single).unwrap();
        let own = Context::new(Some(&parent), true);
        let mut told = single.clone();
        own.tell(&mut told, Some(&parent));
        assert_eq!(told["b3"], format!("{TRACE}-{}-1-{SPAN}", own.span_id()).as_str());
        assert_eq!(told["traceparent"], format!("00-{TRACE}-{}-01", own.span_id()).as_str());

        let several =
            headers(&[("x-b3-traceid", &TRACE[16..]), ("x-b3-spanid", SPAN), ("x-b3-sampled", "0")]);
        let parent = Context::of(&several).unwrap();
        assert!(!parent.sampled);
        let mut told = several.clone();
        Context::new(Some(&parent), false).tell(&mut told, Some(&parent));
        assert_eq!(told["x-b3-parentspanid"], SPAN);
        assert_eq!(told["x-b3-sampled"], "0");
        assert!(told["x-b3-traceid"].to_str().unwrap().ends_with(&TRACE[16..]));
    }
}
