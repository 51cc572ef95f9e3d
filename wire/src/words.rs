//! Enums whose values have one word each, for status pages, metrics and JSON.

/// Declares an enum from rows of a variant and its word, with `ALL`, `word()` and `of()`. A row may also have a sentence
/// for operators, which is the variant's documentation and the result of `sentence()`.
///
/// ```
/// wire::words! {
///     /// Colours of a traffic light.
///     #[derive(Debug, Clone, Copy, PartialEq, Eq)]
///     pub enum Light {
///         /// Traffic stops.
///         Red = "red",
///         /// Traffic flows.
///         Green = "green",
///     }
/// }
/// assert_eq!(Light::Green.word(), "green");
/// assert_eq!(Light::of("red"), Some(Light::Red));
/// assert_eq!(Light::ALL.len(), 2);
/// ```
#[macro_export]
macro_rules! words {
    ($(#[$meta:meta])* $vis:vis enum $name:ident { $($(#[$doc:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$meta])*
        $vis enum $name { $($(#[$doc])* $variant,)+ }

        #[allow(dead_code)]
        impl $name {
            /// Every value, in the order of declaration.
            $vis const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// Returns the word for this value.
            $vis const fn word(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }

            /// Returns the value with this word.
            $vis fn of(word: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|value| value.word() == word)
            }
        }
    };
    ($(#[$meta:meta])* $vis:vis enum $name:ident {
        $($(#[$attribute:meta])* $variant:ident = $word:literal $sentence:literal,)+
    }) => {
        $crate::words! {
            $(#[$meta])*
            $vis enum $name { $(#[doc = $sentence] $(#[$attribute])* $variant = $word,)+ }
        }

        impl $name {
            /// Returns the sentence for operators.
            $vis const fn sentence(self) -> &'static str {
                match self { $(Self::$variant => $sentence,)+ }
            }
        }
    };
}
