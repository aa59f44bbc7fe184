//! The order in which people count.

use std::cmp::Ordering;

/// Orders paths so that numbers in names count as numbers: `frame2.png` before `frame10.png`, and
/// the files of a folder together.
pub fn natural(a: &str, b: &str) -> Ordering {
    let (mut left, mut right) = (a, b);
    loop {
        let order = match (digits(left), digits(right)) {
            (0, _) | (_, 0) => {
                let (x, y) = (left.chars().next(), right.chars().next());
                // A folder ends before any other character goes on.
                let rank = |c: Option<char>| c.map(|c| (c != '/', c));
                match (x, y) {
                    (None, None) => return a.cmp(b),
                    _ => {
                        left = left.get(x.map_or(0, char::len_utf8)..).unwrap_or_default();
                        right = right.get(y.map_or(0, char::len_utf8)..).unwrap_or_default();
                    }
                }
                rank(x).cmp(&rank(y))
            }
            (n, m) => {
                let (x, y) = (
                    left[..n].trim_start_matches('0'),
                    right[..m].trim_start_matches('0'),
                );
                (left, right) = (&left[n..], &right[m..]);
                x.len().cmp(&y.len()).then_with(|| x.cmp(y))
            }
        };
        if order != Ordering::Equal {
            return order;
        }
    }
}

/// How many digits begin the text.
fn digits(text: &str) -> usize {
    text.bytes().take_while(u8::is_ascii_digit).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_count_as_numbers() {
        let ordered = [
            "a/frame2.png",
            "a/frame10.png",
            "a1/x",
            "frame.png",
            "frame1.png",
            "frame01.png",
            "frame1b.png",
            "frame2.png",
            "frame0010.png",
            "frame99999999999999999999998.png",
            "frame99999999999999999999999.png",
            "ä2",
            "ä10",
        ];
        for (i, a) in ordered.iter().enumerate() {
            for (j, b) in ordered.iter().enumerate() {
                // Equal as numbers: told apart, in whichever order.
                if a != b && a.contains("1.png") && b.contains("1.png") {
                    continue;
                }
                assert_eq!(natural(a, b), i.cmp(&j), "{a} {b}");
            }
        }
        let same = natural("frame1.png", "frame01.png");
        assert_ne!(same, Ordering::Equal);
        assert_eq!(natural("frame01.png", "frame1.png"), same.reverse());
    }
}
