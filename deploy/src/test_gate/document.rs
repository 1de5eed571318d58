//! An XML document that a test run wrote, read as a stream: bounded in size and depth, and no entity
//! but the five of XML and characters by number is ever expanded.

use std::borrow::Cow;
use std::fs::{File, OpenOptions};
use std::io::{BufReader, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use quick_xml::escape::{resolve_predefined_entity, unescape};
use quick_xml::events::{BytesRef, BytesStart, Event};
use quick_xml::{Error, Reader};

const LARGEST_BYTES: u64 = 64 * 1024 * 1024;
const DEEPEST: usize = 100;

/// What stands in a document, in order. An empty element opens and closes.
pub(super) enum Part<'a> {
    Open(&'a Element),
    Text(&'a str),
    Close(&'a str),
}

/// An opened element, without its namespace prefix.
pub(super) struct Element {
    pub(super) name: String,
    /// 1 for the root.
    pub(super) depth: usize,
    attributes: Vec<(String, String)>,
}

impl Element {
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// A number; some writers group thousands with commas.
    pub(super) fn number<T: std::str::FromStr>(&self, name: &str) -> Option<T> {
        self.get(name)?.replace(',', "").trim().parse().ok()
    }
}

/// Opens what a run wrote; `None` when it wrote nothing.
///
/// # Errors
/// Why it cannot be read: no file, too large, no permission.
pub(super) fn open(path: &Path) -> Result<Option<File>, String> {
    // Somebody's FIFO would keep us waiting for ever.
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags(rustix::fs::OFlags::NONBLOCK.bits().cast_signed())
        .open(path);
    let file = match opened {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.to_string()),
    };
    let meta = file.metadata().map_err(|error| error.to_string())?;
    match meta.is_file() {
        true if meta.len() > LARGEST_BYTES => {
            Err(format!("it is larger than {} MiB", LARGEST_BYTES / (1024 * 1024)))
        }
        true => Ok(Some(file)),
        false => Err("it is no regular file".into()),
    }
}

/// Shows each part of the document to `visit`.
///
/// # Errors
/// Why it is no document, with the byte where that was seen.
pub(super) fn walk(file: impl Read, mut visit: impl FnMut(&Part<'_>)) -> Result<(), String> {
    let mut reader = Reader::from_reader(BufReader::new(file.take(LARGEST_BYTES)));
    let (mut buffer, mut depth, mut roots) = (Vec::new(), 0, 0);
    loop {
        buffer.clear();
        let event = reader.read_event_into(&mut buffer);
        match event.map_err(|error| told(&error, reader.error_position()))? {
            Event::Start(start) => {
                depth += 1;
                roots += usize::from(depth == 1);
                if depth > DEEPEST {
                    return Err(format!("elements are nested deeper than {DEEPEST}"));
                }
                visit(&Part::Open(&element(&start, depth)?));
            }
            Event::Empty(start) => {
                roots += usize::from(depth == 0);
                let element = element(&start, depth + 1)?;
                visit(&Part::Open(&element));
                visit(&Part::Close(&element.name));
            }
            Event::End(end) => {
                depth -= 1;
                visit(&Part::Close(end.local_name().as_ref()));
            }
            Event::Text(text) => visit(&Part::Text(&text)),
            Event::CData(text) => visit(&Part::Text(&text)),
            Event::GeneralRef(name) => visit(&Part::Text(&reference(&name))),
            Event::Eof if depth > 0 => return Err("it ends in the middle".into()),
            Event::Eof if roots != 1 => return Err("it holds no XML document".into()),
            Event::Eof => return Ok(()),
            Event::Comment(_) | Event::Decl(_) | Event::PI(_) | Event::DocType(_) => {}
        }
    }
}

fn told(error: &Error, position: u64) -> String {
    format!("byte {position}: {error}")
}

fn element(start: &BytesStart<'_>, depth: usize) -> Result<Element, String> {
    let mut attributes = Vec::new();
    // Checking for duplicates takes time in the square of their number.
    for attribute in start.attributes().with_checks(false) {
        let attribute = attribute.map_err(|error| format!("<{}>: {error}", start.name().as_ref()))?;
        let raw = &attribute.value;
        let value = unescape(raw).map_or_else(|_| raw.to_string(), Cow::into_owned);
        attributes.push((attribute.key.local_name().as_ref().to_owned(), value));
    }
    Ok(Element { name: start.local_name().as_ref().to_owned(), depth, attributes })
}

/// A reference in text: resolved when XML itself knows it, else as it stands.
fn reference(name: &BytesRef<'_>) -> String {
    if let Ok(Some(character)) = name.resolve_char_ref() {
        return character.to_string();
    }
    let name: &str = name;
    resolve_predefined_entity(name).map_or_else(|| format!("&{name};"), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn texts(xml: &str) -> Result<String, String> {
        let mut all = String::new();
        walk(xml.as_bytes(), |part| {
            if let Part::Text(text) = part {
                all.push_str(text);
            }
        })?;
        Ok(all)
    }

    #[test]
    fn entities_of_a_document_type_are_never_expanded() {
        let bomb = "<!DOCTYPE a [<!ENTITY x \"boom boom\"><!ENTITY y SYSTEM \"file:///etc/passwd\">]>\
                    <a>&x;&y;&lt;&#33;</a>";
        assert_eq!(texts(bomb).unwrap(), "&x;&y;<!");
    }

    #[test]
    fn what_is_no_document_is_refused() {
        for bad in ["", "text", "<a>", "<a></b>", "<a><b></a>", "<a/><b/>", "<a", "<a b=c/>", "\u{0}\u{1}"] {
            assert!(texts(bad).is_err(), "{bad:?}");
        }
        assert!(texts(&"<a>".repeat(200_000)).unwrap_err().contains("nested"));
    }

    #[test]
    fn only_regular_files_are_opened_and_none_is_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        assert!(open(&dir.path().join("none")).unwrap().is_none());
        assert!(open(dir.path()).is_err());
        let pipe = dir.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        assert!(open(&pipe).is_err());
        let large = dir.path().join("large");
        File::create(&large).unwrap().set_len(LARGEST_BYTES + 1).unwrap();
        assert!(open(&large).unwrap_err().contains("larger"));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = walk(bytes.as_slice(), |_| {});
        }

        #[test]
        fn no_text_makes_it_panic(text in "[<>/a-c&;#x0-9\"'= !\\[\\]-]{0,120}") {
            let _ = walk(text.as_bytes(), |_| {});
        }
    }
}
