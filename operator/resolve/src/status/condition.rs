// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Conditions with their types and reasons as the APIs spell them.

use serde::Serialize;

/// One condition of a status. The writer adds `lastTransitionTime`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// What it is about.
    #[serde(rename = "type")]
    pub kind: ConditionType,
    /// Whether it holds.
    pub status: ConditionStatus,
    /// The generation of the object that it was found for.
    pub observed_generation: i64,
    /// Why, as one word.
    pub reason: Reason,
    /// Why, for people: the object, the field, the remedy. May be empty.
    pub message: String,
}

impl Condition {
    pub(crate) fn new(kind: ConditionType, generation: i64, verdict: Verdict) -> Self {
        let status = if verdict.holds { ConditionStatus::True } else { ConditionStatus::False };
        Self {
            kind,
            status,
            observed_generation: generation,
            reason: verdict.reason,
            message: verdict.message,
        }
    }
}

/// Whether something holds, and why: a condition without its type and generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) holds: bool,
    pub(crate) reason: Reason,
    pub(crate) message: String,
}

impl Verdict {
    pub(crate) fn yes(reason: Reason) -> Self {
        Self { holds: true, reason, message: String::new() }
    }

    pub(crate) fn no(reason: Reason, message: impl Into<String>) -> Self {
        Self { holds: false, reason, message: message.into() }
    }
}

/// Status of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum ConditionStatus {
    /// It holds.
    True,
    /// It does not.
    False,
    /// Nobody can tell.
    Unknown,
}

impl ConditionStatus {
    /// As written in YAML.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

/// Declares an enum whose variants are written as their names.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$word_doc:meta])* $word:ident,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
        pub enum $name { $($(#[$word_doc])* $word,)* }

        impl $name {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$word,)*];

            /// As written in YAML.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$word => stringify!($word),)* }
            }
        }
    };
}

words! {
    /// Types of conditions (Gateway API).
    ConditionType {
        /// The object is valid for this controller.
        Accepted,
        /// The proxies have it, or will have it in a moment.
        Programmed,
        /// Everything that it names exists and may be named.
        ResolvedRefs,
        /// Listeners that cannot live side by side.
        Conflicted,
        /// Some rules of a route are invalid, others are served.
        PartiallyInvalid,
    }
}

words! {
    /// Reasons of conditions (Gateway API).
    Reason {
        /// Valid.
        Accepted,
        /// In the proxies.
        Programmed,
        /// All references hold.
        ResolvedRefs,
        /// Listeners live side by side.
        NoConflicts,
        /// Not yet known.
        Pending,
        /// No address yet.
        AddressNotAssigned,
        /// No proxy is ready yet.
        NoResources,
        /// Cannot be programmed, see `Accepted` and `ResolvedRefs`.
        Invalid,
        /// `parametersRef` names nothing usable.
        InvalidParameters,
        /// Some listeners are not valid.
        ListenersNotValid,
        /// An address of a type that is not served.
        UnsupportedAddress,
        /// A listener's protocol that is not served.
        UnsupportedProtocol,
        /// The port belongs to something else.
        PortUnavailable,
        /// Two listeners with the same hostname on a port.
        HostnameConflict,
        /// Two listeners with different protocols on a port.
        ProtocolConflict,
        /// `allowedRoutes.kinds` holds kinds that do not exist or fit.
        InvalidRouteKinds,
        /// A certificate that is missing or broken.
        InvalidCertificateRef,
        /// Another namespace's object without ReferenceGrant.
        RefNotPermitted,
        /// The listeners allow neither this namespace nor this kind.
        NotAllowedByListeners,
        /// No listener has the hostname.
        NoMatchingListenerHostname,
        /// No listener has the section or port.
        NoMatchingParent,
        /// A value that is not served.
        UnsupportedValue,
        /// Filters that exclude each other.
        IncompatibleFilters,
        /// A Service or its port does not exist.
        BackendNotFound,
        /// A kind that is not served.
        InvalidKind,
    }
}
