//! A method: a few overrides of a configuration file.

/// A row of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Method {
    /// The name on the command line.
    pub key: &'static str,
    /// The name in tables.
    pub label: &'static str,
    /// What it is.
    pub note: &'static str,
    /// Overrides of the configuration file.
    pub overrides: Vec<String>,
    /// Whether it is run with `--controls` only.
    pub control: bool,
}

impl Method {
    /// A method of the table.
    pub fn new(
        key: &'static str,
        label: &'static str,
        note: &'static str,
        overrides: &[&str],
    ) -> Self {
        Self {
            key,
            label,
            note,
            overrides: overrides.iter().map(|set| (*set).to_owned()).collect(),
            control: false,
        }
    }

    /// The same, run with `--controls` only.
    pub fn as_control(self) -> Self {
        Self {
            control: true,
            ..self
        }
    }
}

/// The methods that are run: those named, in the order of the table, or all without the controls or
/// with them.
///
/// # Errors
///
/// An unknown name, with the known ones.
pub fn select(all: Vec<Method>, named: &[String], controls: bool) -> Result<Vec<Method>, String> {
    if let Some(unknown) = named
        .iter()
        .find(|name| !all.iter().any(|m| m.key == **name))
    {
        let known: Vec<&str> = all.iter().map(|method| method.key).collect();
        return Err(format!(
            "--methods {unknown}: expected some of {}",
            known.join(", ")
        ));
    }
    let chosen = |method: &Method| match named {
        [] => !method.control || controls,
        names => names.iter().any(|name| name == method.key),
    };
    Ok(all.into_iter().filter(chosen).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(named: &[&str], controls: bool) -> Result<Vec<&'static str>, String> {
        let all = ["source-only", "mic", "ratio-0"].map(|key| Method::new(key, "", "", &[]));
        let [one, two, three] = all;
        let named: Vec<String> = named.iter().map(|name| (*name).to_owned()).collect();
        let chosen = select(vec![one, two, three.as_control()], &named, controls)?;
        Ok(chosen.iter().map(|method| method.key).collect())
    }

    #[test]
    fn controls_come_when_asked_for() {
        assert_eq!(keys(&[], false).unwrap(), ["source-only", "mic"]);
        assert_eq!(keys(&[], true).unwrap(), ["source-only", "mic", "ratio-0"]);
    }

    #[test]
    fn named_methods_keep_the_order_of_the_table() {
        assert_eq!(
            keys(&["ratio-0", "mic"], false).unwrap(),
            ["mic", "ratio-0"]
        );
        let error = keys(&["mik"], false).unwrap_err();
        assert!(error.contains("mik") && error.contains("source-only"));
    }
}
