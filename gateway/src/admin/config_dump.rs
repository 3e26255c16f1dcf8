// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! `/config_dump` as Envoy writes it: sections of resources in their packed form, written one by one.

mod bootstrap;
mod endpoints;
mod held;
mod section;

pub(super) use bootstrap::node;

use super::json;
use crate::process::Shared;
use gateway_telemetry::{Page, PageRequest};
use gateway_xds_api::{Descriptors, FieldShape};
use held::Held;
use http::StatusCode;
use regex::Regex;
use section::{Masked, Section, Written};
use serde::{Serialize, Serializer, ser::SerializeStruct};

/// What a request asks for.
#[derive(Debug)]
struct Query {
    /// One repeated field of any section.
    resource: Option<String>,
    mask: Option<String>,
    names: Option<Regex>,
    endpoints: bool,
}

impl Query {
    fn read(request: &PageRequest<'_>) -> Result<Self, Page> {
        let text = |name| request.decoded(name).map(|value| value.into_owned());
        let pattern = text("name_regex").filter(|pattern| !pattern.is_empty());
        let names = pattern.map(|pattern| Regex::new(&format!("^(?:{pattern})$"))).transpose();
        Ok(Self {
            resource: text("resource"),
            mask: text("mask"),
            names: names.map_err(|error| refused(format!("Error while parsing name_regex: {error}\n")))?,
            endpoints: request.parameter("include_eds").is_some(),
        })
    }

    fn paths(&self) -> Vec<&str> {
        self.mask.iter().flat_map(|mask| mask.split(',')).filter(|path| !path.is_empty()).collect()
    }
}

/// The page.
pub(super) fn page(shared: &Shared, request: &PageRequest<'_>) -> Page {
    let answer = || -> Result<Page, Page> {
        let query = Query::read(request)?;
        let descriptors = json::descriptors()?;
        let sections = sections(shared, &query);
        match &query.resource {
            Some(field) => one_field(&descriptors, &sections, field, &query),
            None => whole(&descriptors, &sections, &query),
        }
    };
    answer().unwrap_or_else(|refused| refused)
}

/// In Envoy's order.
fn sections(shared: &Shared, query: &Query) -> Vec<Section> {
    let held = Held::of(shared);
    let mut sections = vec![bootstrap::section(shared), held.clusters()];
    if query.endpoints {
        sections.push(endpoints::section(shared));
    }
    sections.extend([held.listeners(), section::scoped_routes(), held.routes(), held.secrets()]);
    if let Some(names) = &query.names {
        sections.iter_mut().for_each(|section| section.keep(names));
    }
    sections
}

fn whole(descriptors: &Descriptors, sections: &[Section], query: &Query) -> Result<Page, Page> {
    let paths = query.paths();
    let fits = |section: &&Section| {
        paths.iter().all(|path| descriptors.mask_fits(section.message, path, section::ANY_RESOURCE))
    };
    let shown: Vec<&Section> = sections.iter().filter(fits).collect();
    if shown.is_empty() {
        let mask = query.mask.as_deref().unwrap_or_default();
        return Err(refused(format!("FieldMask {mask} could not be successfully applied to any configs.\n")));
    }
    let fields = query.mask.as_ref().map(|_| paths.as_slice());
    let written = shown.into_iter().map(|section| Written { section, descriptors, fields });
    Ok(json::page(&Dump { configs: written.collect() }))
}

fn one_field(
    descriptors: &Descriptors,
    sections: &[Section],
    field: &str,
    query: &Query,
) -> Result<Page, Page> {
    let found = sections
        .iter()
        .find_map(|section| descriptors.field_shape(section.message, field).map(|shape| (section, shape)));
    let Some((section, shape)) = found else {
        return Err(Page::text(StatusCode::NOT_FOUND, format!("{field} not found in config dump\n")));
    };
    if shape == FieldShape::Single {
        return Err(refused(format!(
            "{field} is not a repeated field. Use ?mask={field} to get only this field\n"
        )));
    }
    let paths = query.paths();
    let Some(list) = section.repeated.iter().find(|list| list.field == field) else {
        return Ok(json::page(&Dump { configs: Vec::<Masked<'_>>::new() }));
    };
    if !paths.iter().all(|path| descriptors.mask_fits(list.message, path, list.packed)) {
        let mask = query.mask.as_deref().unwrap_or_default();
        return Err(refused(format!("FieldMask {mask} could not be successfully used.\n")));
    }
    let fields = query.mask.as_ref().map(|_| paths.as_slice());
    let message = Some(list.message);
    let entries = list.entries.iter().map(|entry| Masked { entry, descriptors, message, fields });
    Ok(json::page(&Dump { configs: entries.collect() }))
}

fn refused(text: String) -> Page {
    Page::text(StatusCode::BAD_REQUEST, text)
}

/// `envoy.admin.v3.ConfigDump`.
struct Dump<T> {
    configs: Vec<T>,
}

impl<T: Serialize> Serialize for Dump<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut dump = serializer.serialize_struct("ConfigDump", 1)?;
        if self.configs.is_empty() {
            dump.skip_field("configs")?;
        } else {
            dump.serialize_field("configs", &self.configs)?;
        }
        dump.end()
    }
}
