// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Which revision the fleet should reach.

use crate::{Intent, Member, Revision};
use crds::Verdict;
use crds::gateway_fleet::OnNewRevision;

/// The revision that the rollout leads to: the newest, or with `onNewRevision: Queue` the one that is under way.
pub(crate) fn target<'a>(
    intent: &Intent,
    revisions: &'a [Revision],
    members: &[Member],
) -> Option<&'a Revision> {
    let newest = revisions.iter().max_by_key(|revision| revision.number)?;
    if intent.rollout.on_new_revision == OnNewRevision::Supersede {
        return Some(newest);
    }
    let under_way = |revision: &&Revision| {
        revision.verdict == Verdict::Pending
            && !quarantined(intent, revision)
            && members.iter().any(|member| member.pinned.as_deref() == Some(&revision.name))
    };
    Some(revisions.iter().filter(under_way).max_by_key(|revision| revision.number).unwrap_or(newest))
}

/// Whether the content of a revision failed before, and nobody asked to try it again.
pub(crate) fn quarantined(intent: &Intent, revision: &Revision) -> bool {
    let token = intent.rollout.retry_token.as_deref();
    intent
        .quarantined
        .iter()
        .any(|entry| entry.hash == revision.hash && entry.retry_token.as_deref() == token)
}

/// What a cluster that has nothing yet serves until its turn comes: the newest known-good revision.
pub(crate) fn known_good<'a>(intent: &Intent, revisions: &'a [Revision]) -> Option<&'a Revision> {
    let good = |revision: &&Revision| revision.verdict == Verdict::Good && !quarantined(intent, revision);
    revisions.iter().filter(good).max_by_key(|revision| revision.number)
}
