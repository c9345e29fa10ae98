use minijinja::value::{Value, ValueKind};
use minijinja::{Environment, Error, ErrorKind};

/// Marks the message of `required`, so that the error can lead with the value's name.
pub(super) const REQUIRED: &str = "required: ";

pub(super) fn register(environment: &mut Environment<'static>) {
    environment.add_filter("qvs", qvs);
    environment.add_filter("slug", slug);
    environment.add_filter("required", required);
}

/// A literal of a Qlik load script. `$(` is split, because Qlik expands it even inside a string.
fn qvs(value: &Value) -> Result<Value, Error> {
    literal(value).map(Value::from_safe_string)
}

fn literal(value: &Value) -> Result<String, Error> {
    match value.kind() {
        ValueKind::Bool => Ok(if value.is_true() { "True()" } else { "False()" }.to_owned()),
        ValueKind::None => Ok("Null()".to_owned()),
        ValueKind::Number => Ok(value.to_string()),
        ValueKind::String => {
            let text = value.as_str().unwrap_or_default();
            Ok(format!("'{}'", text.replace('\'', "''").replace("$(", "$' & '(")))
        }
        ValueKind::Seq | ValueKind::Iterable => {
            let items: Result<Vec<_>, _> = value.try_iter()?.map(|item| literal(&item)).collect();
            Ok(items?.join(", "))
        }
        kind => Err(Error::new(
            if kind == ValueKind::Undefined { ErrorKind::UndefinedError } else { ErrorKind::InvalidOperation },
            format!("a {kind} has no form in a Qlik script"),
        )),
    }
}

/// Lower-case words of ASCII letters and digits joined by hyphens: for names in URLs and file names.
fn slug(text: &str) -> String {
    let mut slug = String::with_capacity(text.len());
    for letter in text.chars().flat_map(char::to_lowercase) {
        match plain(letter) {
            Some(letters) => slug.push_str(letters),
            None if letter.is_ascii_alphanumeric() => slug.push(letter),
            None if letter == '\'' || slug.is_empty() || slug.ends_with('-') => {}
            None => slug.push('-'),
        }
    }
    slug.truncate(slug.trim_end_matches('-').len());
    slug
}

/// Western European letters without their accents.
fn plain(letter: char) -> Option<&'static str> {
    Some(match letter {
        'à' | 'á' | 'â' | 'ã' | 'å' => "a",
        'ä' | 'æ' => "ae",
        'ç' => "c",
        'è' | 'é' | 'ê' | 'ë' => "e",
        'ì' | 'í' | 'î' | 'ï' => "i",
        'ñ' => "n",
        'ò' | 'ó' | 'ô' | 'õ' | 'ø' => "o",
        'ö' | 'œ' => "oe",
        'ß' => "ss",
        'ù' | 'ú' | 'û' => "u",
        'ü' => "ue",
        'ý' | 'ÿ' => "y",
        _ => return None,
    })
}

/// The value itself; an error that says why when it is missing, `none` or empty text.
fn required(value: Value, why: &str) -> Result<Value, Error> {
    if value.is_undefined() || value.is_none() || value.as_str() == Some("") {
        return Err(Error::new(ErrorKind::UndefinedError, format!("{REQUIRED}{why}")));
    }
    Ok(value)
}
