//! `keys!`: declares the keys of a section, each once.
//!
//! ```text
//! keys! {
//!     /// How Byway stops.                       the section, in a phrase
//!     pub struct Section {
//!         /// One address or several.            a key that is resolved by hand
//!         ///
//!         /// What else there is to say.
//!         listen: Vec<String>, in "listen addresses", example "127.0.0.1:80", required;
//!         name: String, example "site", default "its address";
//!     } => Plan {
//!         /// How long something may take.       a key that goes into the Plan as it is
//!         deadline: Period => Duration = seconds(30), in seconds(1)..=seconds(60);
//!     }
//! }
//! ```
//!
//! From it come the struct of what is written and its reader; the struct of what is meant, with
//! defaults, ranges and errors; the lines that `byway check` prints; the [`Description`] that the
//! schema, the reference and `byway init` are made of.
//!
//! A kind (`Period`) implements [`Form`], and after `=>` also [`Kind`] for the type in the Plan. `in`
//! is its range, [`Form::ANY`] if none is given. `example` is TOML. `default` in words is for a
//! default that is not a value.
//!
//! [`Description`]: super::description::Description
//! [`Form`]: super::kind::Form
//! [`Form::ANY`]: super::kind::Form::ANY
//! [`Kind`]: super::kind::Kind

macro_rules! keys {
    (
        $(#[doc = $about:literal])+
        pub struct $section:ident {
            $(
                $(#[doc = $text:literal])+
                $key:ident: $kind:ty
                    $(, in $range:expr)?
                    $(, example $example:tt, $state:ident $($words:literal)?)?;
            )*
        }
        $(=> $plan:ident {
            $(
                $(#[doc = $set_text:literal])+
                $set:ident: $set_kind:ty => $value:ty = $default:expr
                    $(, in $set_range:expr)?
                    $(, example $set_example:tt)?
                    $(, default $set_words:literal)?;
            )*
        })?
    ) => {
        $(#[doc = $about])+
        #[derive(Clone, Debug, Default)]
        pub struct $section {
            $(
                $(#[doc = $text])+
                pub $key: <$kind as Form>::Written,
            )*
            $($(
                $(#[doc = $set_text])+
                pub $set: <$set_kind as Form>::Written,
            )*)?
        }

        impl Section for $section {
            const ABOUT: &'static str = concat!($($about, "\n"),+);

            fn read(table: &mut TableReader<'_, '_>) -> Self {
                Self {
                    $($key: (<$kind as Form>::READ)(table, stringify!($key), &|| {
                        stringify!($($example)?).to_owned()
                    }),)*
                    $($($set: (<$set_kind as Form>::READ)(table, stringify!($set), &|| {
                        description::example::<$set_kind, $value>(
                            &$default,
                            &[$(stringify!($set_example))?],
                        )
                    }),)*)?
                }
            }

            fn describe() -> Description {
                Description::new(Self::ABOUT, vec![
                    $(
                        Key::new(
                            stringify!($key),
                            concat!($($text, "\n"),+),
                            <$kind as Form>::shape(range_of!($kind $(, $range)?)),
                        )
                        $(.example(stringify!($example)).$state($($words)?))?,
                    )*
                    $($(
                        Key::set::<$set_kind, $value>(
                            stringify!($set),
                            concat!($($set_text, "\n"),+),
                            range_of!($set_kind $(, $set_range)?),
                            &$default,
                        )
                        $(.example(stringify!($set_example)))?
                        $(.default($set_words))?,
                    )*)?
                ])
            }
        }

        $(
            #[doc = concat!("What [`", stringify!($section), "`] means, with nothing missing.")]
            #[derive(Clone, Debug, PartialEq, Eq)]
            pub struct $plan {
                $(
                    $(#[doc = $set_text])+
                    pub $set: $value,
                )*
            }

            impl $section {
                /// The Plan of it. What is wrong is noted, with `prefix` in front of the key.
                pub(in crate::config) fn resolve(
                    &self,
                    resolver: &mut Resolver<'_>,
                    prefix: &str,
                ) -> $plan {
                    $plan {
                        $($set: <$set_kind as Kind<$value>>::resolve(
                            resolver,
                            &[prefix, stringify!($set)].concat(),
                            &self.$set,
                            range_of!($set_kind $(, $set_range)?),
                            $default,
                        ),)*
                    }
                }
            }

            impl $plan {
                /// Prints it as lines of a config file.
                pub(in crate::config) fn print(
                    &self,
                    f: &mut std::fmt::Formatter<'_>,
                ) -> std::fmt::Result {
                    $(description::line(
                        f,
                        stringify!($set),
                        <$set_kind as Kind<$value>>::print(&self.$set),
                        concat!($($set_text, "\n"),+),
                        &[$($set_words)?],
                    )?;)*
                    Ok(())
                }
            }
        )?
    };
}

/// The range of a key: the given one, or all that its kind can hold.
macro_rules! range_of {
    ($kind:ty) => {
        <$kind as Form>::ANY
    };
    ($kind:ty, $range:expr) => {
        $range
    };
}

/// How values are written: the type as written, the method of `TableReader` that reads it, the range
/// and the one of keys that state none, the shape. A range of text says what to write.
macro_rules! forms {
    ($($form:ty: $written:ty, $read:ident, $range:ty = $any:expr, $shape:expr;)*) => {$(
        impl Form for $form {
            type Written = $written;
            type Range = $range;
            const ANY: $range = $any;
            const READ: Read<$written> = |table, key, example| table.$read(key, example);

            fn shape(range: $range) -> Shape {
                $shape(range)
            }
        }
    )*};
}
