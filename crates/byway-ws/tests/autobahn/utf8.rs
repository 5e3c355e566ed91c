//! Utf8: the cases 6.5 to 6.23, one text in one frame each.

use crate::common::*;
use crate::{Case, KOSME, bad, good};

/// 6.5 to 6.23: valid and invalid UTF-8, from Markus Kuhn's stress test of decoders.
pub(super) fn cases() -> Vec<Case> {
    const T: bool = true;
    const F: bool = false;
    let starts = |from: u8, to: u8| (from..to).flat_map(|byte| [byte, b' ']).collect();
    let incomplete: [&[u8]; 10] = [
        b"\xc0",
        b"\xe0\x80",
        b"\xf0\x80\x80",
        b"\xf8\x80\x80\x80",
        b"\xfc\x80\x80\x80\x80",
        b"\xdf",
        b"\xef\xbf",
        b"\xf7\xbf\xbf",
        b"\xfb\xbf\xbf\xbf",
        b"\xfd\xbf\xbf\xbf\xbf",
    ];
    let all_of = |valid: bool, texts: &[&[u8]]| -> Vec<(bool, Vec<u8>)> {
        texts.iter().map(|text| (valid, text.to_vec())).collect()
    };
    let some_of = |texts: &[(bool, &[u8])]| -> Vec<(bool, Vec<u8>)> {
        texts
            .iter()
            .map(|(valid, text)| (*valid, text.to_vec()))
            .collect()
    };
    // U+FFFE and U+FFFF, then the last two code points of each plane that the suite lists.
    let mut noncharacters = all_of(T, &[b"\xef\xbf\xbe", b"\xef\xbf\xbf"]);
    for first in 0xf0..=0xf4 {
        for second in [0x8f, 0x9f, 0xaf, 0xbf] {
            if (first, second) == (0xf0, 0x8f) || first == 0xf4 && second != 0x8f {
                continue; // overlong, or beyond U+10FFFF
            }
            noncharacters.extend([0xbe, 0xbf].map(|last| (T, vec![first, second, 0xbf, last])));
        }
    }
    let groups = [
        // 6.5: some correct texts
        all_of(
            T,
            &[
                b"hello\x24world",
                b"hello\xc2\xa2world",
                b"hello\xe2\x82\xacworld",
                b"hello\xf0\xa4\xad\xa2world",
                KOSME,
            ],
        ),
        // 6.6: all prefixes of a text
        [F, T, F, F, T, F, T, F, T, F, T]
            .into_iter()
            .enumerate()
            .map(|(at, valid)| (valid, KOSME[..=at].to_vec()))
            .collect(),
        // 6.7: the first sequence of each length
        all_of(
            T,
            &[b"\x00", b"\xc2\x80", b"\xe0\xa0\x80", b"\xf0\x90\x80\x80"],
        ),
        // 6.8: of five and six bytes
        all_of(F, &[b"\xf8\x88\x80\x80\x80", b"\xfc\x84\x80\x80\x80\x80"]),
        // 6.9: the last sequence of each length
        all_of(
            T,
            &[b"\x7f", b"\xdf\xbf", b"\xef\xbf\xbf", b"\xf4\x8f\xbf\xbf"],
        ),
        // 6.10: of lengths that reach beyond U+10FFFF
        all_of(
            F,
            &[
                b"\xf7\xbf\xbf\xbf",
                b"\xfb\xbf\xbf\xbf\xbf",
                b"\xfd\xbf\xbf\xbf\xbf\xbf",
            ],
        ),
        // 6.11: other boundaries
        some_of(&[
            (T, b"\xed\x9f\xbf"),
            (T, b"\xee\x80\x80"),
            (T, b"\xef\xbf\xbd"),
            (T, b"\xf4\x8f\xbf\xbf"),
            (F, b"\xf4\x90\x80\x80"),
        ]),
        // 6.12: continuation bytes without a start
        all_of(
            F,
            &[
                b"\x80",
                b"\xbf",
                b"\x80\xbf",
                b"\x80\xbf\x80",
                b"\x80\xbf\x80\xbf",
                b"\x80\xbf\x80\xbf\x80",
                b"\x80\xbf\x80\xbf\x80\xbf",
                &(0x80..0xbf).collect::<Vec<u8>>(),
            ],
        ),
        // 6.13: starts without continuation bytes
        [
            starts(0xc0, 0xdf),
            starts(0xe0, 0xef),
            starts(0xf0, 0xf7),
            starts(0xf8, 0xfb),
            starts(0xfc, 0xfd),
        ]
        .map(|text| (F, text))
        .to_vec(),
        // 6.14: sequences without their last byte
        all_of(F, &incomplete),
        // 6.15: all of them in a row
        vec![(F, incomplete.concat())],
        // 6.16: bytes that never occur
        all_of(F, &[b"\xfe", b"\xff", b"\xfe\xfe\xff\xff"]),
        // 6.17: an overlong slash
        all_of(
            F,
            &[
                b"\xc0\xaf",
                b"\xe0\x80\xaf",
                b"\xf0\x80\x80\xaf",
                b"\xf8\x80\x80\x80\xaf",
                b"\xfc\x80\x80\x80\x80\xaf",
            ],
        ),
        // 6.18: the largest overlong sequences
        all_of(
            F,
            &[
                b"\xc1\xbf",
                b"\xe0\x9f\xbf",
                b"\xf0\x8f\xbf\xbf",
                b"\xf8\x87\xbf\xbf\xbf",
                b"\xfc\x83\xbf\xbf\xbf\xbf",
            ],
        ),
        // 6.19: an overlong NUL
        all_of(
            F,
            &[
                b"\xc0\x80",
                b"\xe0\x80\x80",
                b"\xf0\x80\x80\x80",
                b"\xf8\x80\x80\x80\x80",
                b"\xfc\x80\x80\x80\x80\x80",
            ],
        ),
        // 6.20: single surrogates
        all_of(
            F,
            &[
                b"\xed\xa0\x80",
                b"\xed\xad\xbf",
                b"\xed\xae\x80",
                b"\xed\xaf\xbf",
                b"\xed\xb0\x80",
                b"\xed\xbe\x80",
                b"\xed\xbf\xbf",
            ],
        ),
        // 6.21: pairs of surrogates
        all_of(
            F,
            &[
                b"\xed\xa0\x80\xed\xb0\x80",
                b"\xed\xa0\x80\xed\xbf\xbf",
                b"\xed\xad\xbf\xed\xb0\x80",
                b"\xed\xad\xbf\xed\xbf\xbf",
                b"\xed\xae\x80\xed\xb0\x80",
                b"\xed\xae\x80\xed\xbf\xbf",
                b"\xed\xaf\xbf\xed\xb0\x80",
                b"\xed\xaf\xbf\xed\xbf\xbf",
            ],
        ),
        // 6.22: code points that are no characters, in valid UTF-8
        noncharacters,
        // 6.23: specials, such as the replacement character
        (0xb9..=0xbf)
            .map(|last| (T, vec![0xef, 0xbf, last]))
            .collect(),
    ];
    let mut cases = Vec::new();
    for (group, texts) in groups.into_iter().enumerate() {
        for (at, (valid, text)) in texts.into_iter().enumerate() {
            let number = format!("6.{}.{}", group + 5, at + 1);
            let text = [frame(TEXT, text)];
            cases.push(match valid {
                true => good(number, &text, &text),
                false => bad(number, &text, &[], 1007),
            });
        }
    }
    cases
}
