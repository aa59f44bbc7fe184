//! Names with `*`.

/// Whether `name` fits `pattern`, in which `*` stands for any characters.
pub(crate) fn fits(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else {
        return false;
    };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else {
        return rest.is_empty();
    };
    for part in parts {
        let Some(at) = rest.find(part) else {
            return false;
        };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::fits;

    #[test]
    fn stars_stand_for_anything() {
        assert!(fits("*_mitb5_*", "gta2cs_daformer_mitb5_poly_s0"));
        assert!(fits("visda_*", "visda_vit") && fits("80", "80") && fits("*", ""));
        assert!(!fits("visda_*", "a_visda_b") && !fits("80", "801") && !fits("a*a", "a"));
        assert!(!fits("*_mitb5", "mitb5_x"));
    }
}
