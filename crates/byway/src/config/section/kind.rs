//! Kind: how the values of keys are written, read, checked and printed.
//!
//! In:    a value as written.
//! Out:   the value of the Plan, its text, and its [`Shape`].
//! Never: clamps silently: a value out of its range is an error that names the range.

use std::fmt::{Debug, Display};
use std::marker::PhantomData;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use super::Section;
use super::description::{Shape, quoted};
use crate::config::diagnostic::Diagnostic;
use crate::config::nearest::nearest;
use crate::config::place::{At, Place, Text};
use crate::config::resolve::Resolver;
use crate::config::secret::Secret;
use crate::config::table::{Example, TableReader};
use crate::config::units::{ByteSize, Period, Rate};

/// Reads the value of a key; the example is for errors.
pub(in crate::config) type Read<W> = fn(&mut TableReader<'_, '_>, &'static str, Example<'_>) -> W;

/// How the values of a key are written.
pub trait Form {
    /// The value as written, if it is.
    type Written: Clone + Debug + Default;
    /// What limits the values.
    type Range;
    /// The range of a key that states none.
    const ANY: Self::Range;

    /// Reads the value of a key.
    const READ: Read<Self::Written>;

    /// How the values look.
    fn shape(range: Self::Range) -> Shape;
}

/// A kind of value that goes into the Plan as it is, as a `V`.
pub(in crate::config) trait Kind<V>: Form {
    /// The value in the Plan; none if nothing is written, or something wrong, which is noted.
    fn value(
        resolver: &mut Resolver<'_>,
        key: &str,
        written: &Self::Written,
        range: Self::Range,
    ) -> Option<V>;

    /// As [`Self::value`], or else `default`.
    fn resolve(
        resolver: &mut Resolver<'_>,
        key: &str,
        written: &Self::Written,
        range: Self::Range,
        default: V,
    ) -> V {
        Self::value(resolver, key, written, range).unwrap_or(default)
    }

    /// The value as TOML; none if only a missing key says it.
    fn print(value: &V) -> Option<String>;
}

/// `seconds` as a duration.
pub(in crate::config) const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// `millis` milliseconds as a duration.
pub(in crate::config) const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub(in crate::config) const KIB: u64 = 1 << 10;
pub(in crate::config) const GIB: u64 = 1 << 30;

/// A whole number. The range of all fits every type that counts are kept in; it is far beyond what a
/// machine can hold open.
pub struct Count;

/// A folder. Relative paths start at the folder of the file; the default is in the state folder.
pub struct Folder;

/// A list of texts and numbers, or one of them; resolved by hand.
pub struct NumbersOrTexts;

forms! {
    Count: Option<At<u64>>, count, RangeInclusive<u64> = 1..=1_000_000_000, Shape::Count;
    ByteSize: Option<Text>, text_or_number,
        RangeInclusive<u64> = 1..=i64::MAX.unsigned_abs(), Shape::Size;
    Period: Option<Text>, text,
        RangeInclusive<Duration> = millis(1)..=seconds(365 * 86_400), Shape::Period;
    Rate: Option<Text>, text, () = (), |()| Shape::Rate;
    bool: Option<At<bool>>, truth, () = (), |()| Shape::Truth;
    IpAddr: Option<Text>, text, &'static str = "an address", Shape::Text;
    Folder: Option<Text>, text, &'static str = "a folder", Shape::Text;
    String: Option<Text>, text, &'static str = "text", Shape::Text;
    Vec<String>: Option<At<Vec<Text>>>, texts, &'static str = "texts", Shape::Texts;
    NumbersOrTexts: Option<At<Vec<Text>>>, texts_or_numbers,
        &'static str = "numbers", Shape::NumbersOrTexts;
    Secret: Option<At<Secret>>, secret, &'static str = "text", Shape::Text;
}

impl<V: TryFrom<u64> + Display> Kind<V> for Count {
    fn value(
        resolver: &mut Resolver<'_>,
        key: &str,
        written: &Self::Written,
        range: Self::Range,
    ) -> Option<V> {
        let at = written.as_ref()?;
        let number = in_range(resolver, key, &at.place, at.value, &range, u64::to_string)?;
        V::try_from(number).ok()
    }

    fn print(value: &V) -> Option<String> {
        Some(value.to_string())
    }
}

impl<V: Copy + TryFrom<u64> + TryInto<u64>> Kind<V> for ByteSize {
    fn value(
        resolver: &mut Resolver<'_>,
        key: &str,
        written: &Self::Written,
        range: Self::Range,
    ) -> Option<V> {
        let text = written.as_ref()?;
        let Self(size) = resolver.parsed(key, text)?;
        let size = in_range(resolver, key, &text.place, size, &range, |size| Self(*size))?;
        V::try_from(size).ok()
    }

    fn print(value: &V) -> Option<String> {
        (*value).try_into().ok().map(|size| quoted(Self(size)))
    }
}

impl Kind<Duration> for Period {
    fn value(
        resolver: &mut Resolver<'_>,
        key: &str,
        written: &Self::Written,
        range: Self::Range,
    ) -> Option<Duration> {
        let text = written.as_ref()?;
        let Self(period) = resolver.parsed(key, text)?;
        in_range(resolver, key, &text.place, period, &range, |period| {
            Self(*period)
        })
    }

    fn print(value: &Duration) -> Option<String> {
        Some(quoted(Self(*value)))
    }
}

impl Kind<Self> for Rate {
    fn value(
        resolver: &mut Resolver<'_>,
        key: &str,
        written: &Self::Written,
        (): (),
    ) -> Option<Self> {
        resolver.parsed(key, written.as_ref()?)
    }

    fn print(value: &Self) -> Option<String> {
        Some(quoted(value))
    }
}

impl Kind<Self> for bool {
    fn value(_: &mut Resolver<'_>, _: &str, written: &Self::Written, (): ()) -> Option<Self> {
        written.as_ref().map(|at| at.value)
    }

    fn print(value: &Self) -> Option<String> {
        Some(value.to_string())
    }
}

/// A value, or `"none"`.
pub struct OrNone<K>(PhantomData<K>);

impl<K: Form<Written = Option<Text>>> Form for OrNone<K> {
    type Written = Option<Text>;
    type Range = K::Range;
    const ANY: Self::Range = K::ANY;

    const READ: Read<Self::Written> = K::READ;

    fn shape(range: Self::Range) -> Shape {
        Shape::OrNone(Box::new(K::shape(range)))
    }
}

impl<V, K: Kind<V> + Form<Written = Option<Text>>> Kind<Option<V>> for OrNone<K> {
    fn value(
        resolver: &mut Resolver<'_>,
        key: &str,
        written: &Self::Written,
        range: Self::Range,
    ) -> Option<Option<V>> {
        match written {
            Some(text) if text.value == "none" => Some(None),
            _ => K::value(resolver, key, written, range).map(Some),
        }
    }

    fn print(value: &Option<V>) -> Option<String> {
        value
            .as_ref()
            .map_or_else(|| Some(quoted("none")), K::print)
    }
}

/// A value that may be missing, without a word for it.
pub struct Maybe<K>(PhantomData<K>);

impl<K: Form> Form for Maybe<K> {
    type Written = K::Written;
    type Range = K::Range;
    const ANY: Self::Range = K::ANY;

    const READ: Read<Self::Written> = K::READ;

    fn shape(range: Self::Range) -> Shape {
        K::shape(range)
    }
}

impl<V, K: Kind<V>> Kind<Option<V>> for Maybe<K> {
    fn value(
        resolver: &mut Resolver<'_>,
        key: &str,
        written: &Self::Written,
        range: Self::Range,
    ) -> Option<Option<V>> {
        K::value(resolver, key, written, range).map(Some)
    }

    fn print(value: &Option<V>) -> Option<String> {
        value.as_ref().and_then(K::print)
    }
}

/// A value that is written as one of a few words.
pub trait Words: Copy + PartialEq + 'static {
    /// Each value and its word.
    const WORDS: &'static [(&'static str, Self)];

    /// What to do instead, for texts that are probably meant for another key.
    fn meant_for_another_key(text: &str) -> Option<String> {
        let _ = text;
        None
    }

    /// The word of the value.
    fn word(self) -> &'static str {
        let known = Self::WORDS.iter().find(|(_, value)| *value == self);
        known.map_or("", |(word, _)| word)
    }
}

/// One of the words of `T`.
pub struct OneOf<T>(PhantomData<T>);

impl<T: Words> Form for OneOf<T> {
    type Written = Option<Text>;
    type Range = ();
    const ANY: Self::Range = ();

    const READ: Read<Self::Written> = |table, key, example| table.text(key, example);

    fn shape((): ()) -> Shape {
        Shape::Words(T::WORDS.iter().map(|(word, _)| *word).collect())
    }
}

impl<T: Words> Kind<T> for OneOf<T> {
    fn value(resolver: &mut Resolver<'_>, key: &str, written: &Self::Written, (): ()) -> Option<T> {
        let text = written.as_ref()?;
        let words = || T::WORDS.iter().map(|(word, _)| *word);
        if let Some((_, value)) = T::WORDS.iter().find(|(word, _)| *word == text.value) {
            return Some(*value);
        }
        let message = format!(
            "`{}` must be {}, found {:?}",
            text.place.key_or_flag(key),
            words().map(quoted).collect::<Vec<_>>().join(" or "),
            text.value
        );
        let near = || nearest(&text.value, words()).map(|near| format!("did you mean {near:?}?"));
        let mut diagnostic = Diagnostic::new(&text.place, message);
        if let Some(help) = T::meant_for_another_key(&text.value).or_else(near) {
            diagnostic = diagnostic.help(help);
        }
        resolver.note(diagnostic);
        None
    }

    fn print(value: &T) -> Option<String> {
        Some(quoted(value.word()))
    }
}

/// `true`, `false`, or one of the other words of `T`, which are strings.
pub struct TruthOr<T>(PhantomData<T>);

impl<T: Words> Form for TruthOr<T> {
    type Written = Option<Text>;
    type Range = ();
    const ANY: Self::Range = ();

    const READ: Read<Self::Written> = |table, key, example| table.text_or_truth(key, example);

    fn shape((): ()) -> Shape {
        let words = T::WORDS.iter().map(|(word, _)| *word);
        Shape::TruthOr(words.filter(|word| !is_truth(word)).collect())
    }
}

impl<T: Words> Kind<T> for TruthOr<T> {
    fn value(resolver: &mut Resolver<'_>, key: &str, written: &Self::Written, (): ()) -> Option<T> {
        OneOf::<T>::value(resolver, key, written, ())
    }

    fn print(value: &T) -> Option<String> {
        let word = value.word();
        Some(match is_truth(word) {
            true => word.to_owned(),
            false => quoted(word),
        })
    }
}

fn is_truth(word: &str) -> bool {
    matches!(word, "true" | "false")
}

impl Kind<Self> for IpAddr {
    fn value(
        resolver: &mut Resolver<'_>,
        key: &str,
        written: &Self::Written,
        _: Self::Range,
    ) -> Option<Self> {
        let text = written.as_ref()?;
        let read = text.value.parse::<Self>().map_err(|_| {
            format!(
                "`{}` is not an address: write one such as 192.0.2.1",
                text.value
            )
        });
        resolver.checked(key, &text.place, read)
    }

    fn print(value: &Self) -> Option<String> {
        Some(quoted(value))
    }
}

impl Kind<PathBuf> for Folder {
    fn value(
        resolver: &mut Resolver<'_>,
        key: &str,
        written: &Self::Written,
        _: Self::Range,
    ) -> Option<PathBuf> {
        let text = written.as_ref()?;
        if text.value.is_empty() {
            let message = format!("`{key}` is empty: leave it out or name a folder");
            resolver.note(Diagnostic::new(&text.place, message));
            return None;
        }
        Some(resolver.path(&text.value))
    }

    fn resolve(
        resolver: &mut Resolver<'_>,
        key: &str,
        written: &Self::Written,
        range: Self::Range,
        default: PathBuf,
    ) -> PathBuf {
        let value = Self::value(resolver, key, written, range);
        value.unwrap_or_else(|| resolver.around.state.join(default))
    }

    fn print(value: &PathBuf) -> Option<String> {
        Some(quoted(value.display()))
    }
}

/// A table `[key]`.
impl<T: Section> Form for T {
    type Written = Self;
    type Range = ();
    const ANY: Self::Range = ();

    const READ: Read<Self::Written> = |table, key, _| table.section(key);

    fn shape((): ()) -> Shape {
        Shape::Table(T::describe())
    }
}

/// Tables `[[key]]`.
impl<T: Section> Form for Vec<T> {
    type Written = Vec<At<T>>;
    type Range = ();
    const ANY: Self::Range = ();

    const READ: Read<Self::Written> = |table, key, _| {
        table
            .sections(key, &[])
            .map(|all| all.value)
            .unwrap_or_default()
    };

    fn shape((): ()) -> Shape {
        Shape::Tables(T::describe())
    }
}

/// Tables that are usually written in one line.
pub struct Inline<T>(PhantomData<T>);

impl<T: Section> Form for Inline<T> {
    type Written = Option<At<Vec<At<T>>>>;
    type Range = ();
    const ANY: Self::Range = ();

    const READ: Read<Self::Written> = |table, key, _| table.sections(key, &[]);

    fn shape((): ()) -> Shape {
        Shape::Inline(T::describe())
    }
}

/// Keys that several sections have.
pub struct Group<T>(PhantomData<T>);

impl<T: Section> Form for Group<T> {
    type Written = T;
    type Range = ();
    const ANY: Self::Range = ();

    const READ: Read<Self::Written> = |table, _, _| T::read(table);

    fn shape((): ()) -> Shape {
        Shape::Group(T::describe())
    }
}

/// `value`, if it is in its range; otherwise an error is noted.
fn in_range<T: PartialOrd, S: Display>(
    resolver: &mut Resolver<'_>,
    key: &str,
    place: &Place,
    value: T,
    range: &RangeInclusive<T>,
    show: impl Fn(&T) -> S,
) -> Option<T> {
    if range.contains(&value) {
        return Some(value);
    }
    let (bound, edge) = if value < *range.start() {
        ("least", range.start())
    } else {
        ("most", range.end())
    };
    let message = format!(
        "`{key}` must be at {bound} {}, but is {}",
        show(edge),
        show(&value)
    );
    resolver.note(Diagnostic::new(place, message));
    None
}
