//! Text forms, written once: serde for types that are text, and enums whose variants are words.

use thiserror::Error;

/// A word that is none of those a setting allows.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("\"{given}\" is not {what}: expected one of {}", allowed.join(", "))]
pub struct UnknownWord {
    /// The word as it was given.
    pub given: String,
    /// What the word was to be, with its article: "a host state".
    pub what: &'static str,
    /// The words that are allowed, in the order of the documentation.
    pub allowed: &'static [&'static str],
}

/// Serialises a type through `Display` and deserialises it through `FromStr`, so that configuration, JSON and the
/// command line share one syntax and one error text; to a schema it is a string.
macro_rules! serde_as_text {
    ($type:ty, $expecting:literal) => {
        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Text;

                impl serde::de::Visitor<'_> for Text {
                    type Value = $type;

                    fn expecting(&self, formatter: &mut std::fmt::Formatter) -> std::fmt::Result {
                        formatter.write_str($expecting)
                    }

                    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<$type, E> {
                        text.parse().map_err(E::custom)
                    }
                }

                deserializer.deserialize_str(Text)
            }
        }

        impl schemars::JsonSchema for $type {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "type": "string", "description": $expecting })
            }
        }
    };
}

/// Defines an enum whose variants are words: `ALL`, `as_str`, `Display`, `FromStr` and serde from one list.
macro_rules! word_enum {
    (
        $(#[$meta:meta])*
        pub enum $name:ident, $what:literal {
            $( $(#[$variant_meta:meta])* $variant:ident = $word:literal, )+
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            $( $(#[$variant_meta])* $variant, )+
        }

        impl $name {
            /// Every value, in the order of declaration.
            pub const ALL: &[$name] = &[$($name::$variant),+];
            const WORDS: &[&str] = &[$($word),+];

            /// The word that configuration, JSON and `Display` use.
            pub const fn as_str(self) -> &'static str {
                match self { $($name::$variant => $word),+ }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, formatter: &mut std::fmt::Formatter) -> std::fmt::Result {
                formatter.pad(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = crate::text::UnknownWord;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                match text {
                    $($word => Ok($name::$variant),)+
                    _ => Err(crate::text::UnknownWord { given: text.to_owned(), what: $what, allowed: $name::WORDS }),
                }
            }
        }

        crate::text::serde_as_text!($name, $what);
    };
}

pub(crate) use {serde_as_text, word_enum};
