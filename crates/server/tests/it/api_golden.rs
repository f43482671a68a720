//! The public API is add-only: no field, enum value or RPC is removed, renumbered or retyped.
//!
//! `tests/golden/api.txt` lists all of it. After an addition: `PHALANX_GOLDEN=add cargo test -p phalanx-server --test it golden`, which adds
//! lines and never drops one.

use std::collections::BTreeSet;
use std::path::PathBuf;

use phalanx_proto::DESCRIPTORS;
use prost::Message as _;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorSet};

const PACKAGE: &str = "phalanx.v1";

fn golden_path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/api.txt")
}

fn api() -> BTreeSet<String> {
    let set = FileDescriptorSet::decode(DESCRIPTORS).unwrap();
    let mut lines = BTreeSet::new();
    for file in set.file.iter().filter(|file| file.package() == PACKAGE) {
        for message in &file.message_type {
            describe_message(PACKAGE, message, &mut lines);
        }
        for values in &file.enum_type {
            describe_enum(PACKAGE, values, &mut lines);
        }
        for service in &file.service {
            for method in &service.method {
                let stream = |on: bool| if on { "stream " } else { "" };
                lines.insert(format!(
                    "rpc {PACKAGE}.{}/{} ({}{}) ({}{})",
                    service.name(),
                    method.name(),
                    stream(method.client_streaming()),
                    method.input_type(),
                    stream(method.server_streaming()),
                    method.output_type(),
                ));
            }
        }
    }
    lines
}

fn describe_message(scope: &str, message: &DescriptorProto, lines: &mut BTreeSet<String>) {
    let name = format!("{scope}.{}", message.name());
    for field in &message.field {
        let oneof =
            field.oneof_index.map(|index| format!(" oneof {}", message.oneof_decl[index as usize].name()));
        let line = format!("field {name}.{} {} {}", field.name(), field.number(), type_of(field));
        lines.insert(format!("{line}{}", oneof.unwrap_or_default()));
    }
    for nested in &message.nested_type {
        describe_message(&name, nested, lines);
    }
    for values in &message.enum_type {
        describe_enum(&name, values, lines);
    }
}

fn describe_enum(scope: &str, values: &EnumDescriptorProto, lines: &mut BTreeSet<String>) {
    for value in &values.value {
        lines.insert(format!("value {scope}.{}.{} {}", values.name(), value.name(), value.number()));
    }
}

fn type_of(field: &FieldDescriptorProto) -> String {
    let kind = match field.r#type() {
        Type::Message | Type::Enum => field.type_name().to_owned(),
        scalar => scalar.as_str_name().trim_start_matches("TYPE_").to_lowercase(),
    };
    if field.label() == Label::Repeated { format!("repeated {kind}") } else { kind }
}

#[test]
fn golden_api_keeps_every_field_value_and_rpc() {
    let api = api();
    assert!(api.len() > 100, "the descriptors were not read");
    let text = std::fs::read_to_string(golden_path()).unwrap_or_default();
    let golden: BTreeSet<String> = text.lines().map(str::to_owned).collect();
    let lost: Vec<_> = golden.difference(&api).collect();
    assert!(lost.is_empty(), "removed, renumbered or retyped: {lost:#?}");
    let added: Vec<_> = api.difference(&golden).collect();
    if std::env::var("PHALANX_GOLDEN").as_deref() == Ok("add") {
        let lines: Vec<_> = api.iter().cloned().collect();
        std::fs::write(golden_path(), lines.join("\n") + "\n").unwrap();
    } else {
        assert!(added.is_empty(), "new in the API: run again with PHALANX_GOLDEN=add: {added:#?}");
    }
}
