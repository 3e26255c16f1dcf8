// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! What a conflict of server-side apply says: who holds which field.

use kube::core::Status;

/// A field that another manager holds with another value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FieldConflict {
    /// The manager.
    pub(crate) manager: String,
    /// The manager declares the field by server-side apply, as a controller or a GitOps tool does. Otherwise someone once
    /// changed it by hand or by an update.
    pub(crate) declared: bool,
    /// Path of the field, as `.spec.template`.
    pub(crate) field: String,
}

/// The conflicts that a 409 names. Empty: it was no conflict of fields.
pub(crate) fn field_conflicts(status: &Status) -> Vec<FieldConflict> {
    let causes = status.details.as_ref().map(|d| d.causes.as_slice()).unwrap_or_default();
    causes
        .iter()
        .filter(|cause| cause.reason == "FieldManagerConflict")
        .map(|cause| {
            // conflict with "kubectl-edit" using apps/v1 at 2026-08-27T10:03:00Z
            // conflict with "flux"                                       (an apply carries no version)
            let manager = cause.message.split('"').nth(1).unwrap_or("unknown").to_owned();
            let ours = manager == crds::FIELD_MANAGER_INIT;
            let declared = !ours && !cause.message.contains(" using ");
            FieldConflict { manager, declared, field: cause.field.clone() }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(messages: &[(&str, &str)]) -> Status {
        let causes: Vec<_> = messages
            .iter()
            .map(|(message, field)| serde_json::json!({"reason": "FieldManagerConflict", "message": message, "field": field}))
            .collect();
        serde_json::from_value(serde_json::json!({
            "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 409, "reason": "Conflict",
            "message": "Apply failed", "details": {"causes": causes}
        }))
        .unwrap()
    }

    #[test]
    fn tells_a_declaration_from_an_edit() {
        let found = field_conflicts(&status(&[
            ("conflict with \"kubectl-edit\" using apps/v1 at 2026-08-27T10:03:00Z", ".spec.replicas"),
            (
                "conflict with \"kustomize-controller\"",
                ".spec.template.spec.containers[name=\"gateway\"].image",
            ),
        ]));
        assert_eq!(found[0].manager, "kubectl-edit");
        assert!(!found[0].declared);
        assert_eq!(found[1].manager, "kustomize-controller");
        assert!(found[1].declared);
        assert!(found[1].field.ends_with(".image"));
    }

    #[test]
    fn another_409_is_no_conflict_of_fields() {
        assert!(field_conflicts(&status(&[])).is_empty());
    }
}
