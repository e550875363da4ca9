//! Text for a shell.

/// Quotes `text` as one word of a command, whatever is in it.
pub fn quote(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    match !text.is_empty() && text.chars().all(is_plain) {
        true => text.to_owned(),
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_reads_one_word() {
        for text in [
            "",
            "a b",
            "it's",
            "$(id)`id`",
            "\"\\\"",
            "a\nb",
            "/plain-1.yaml",
        ] {
            let command = format!("printf %s {}", quote(text));
            let output = std::process::Command::new("sh")
                .args(["-c", &command])
                .output();
            let read = String::from_utf8(output.unwrap().stdout).unwrap();
            assert_eq!(read, text, "{command}");
        }
    }
}
