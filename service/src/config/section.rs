//! The declaration of settings: [`settings!`](crate::settings) makes of each row the struct's field, its reader, its
//! line in `docs/reference/configuration.md`, and whether a running process takes a new value.

use std::path::PathBuf;

use super::document::{ReadField, Reported, Table};
use super::value::Setting;

impl<T: Setting> ReadField for T {
    fn read_field(table: &Table<'_>, name: &str) -> Result<Self, Reported> {
        table.read_value(name)
    }
}

/// A setting that may be left out.
impl<T: ReadField> ReadField for Option<T> {
    fn read_field(table: &Table<'_>, name: &str) -> Result<Self, Reported> {
        table.states(name).then(|| T::read_field(table, name)).transpose()
    }
}

/// A list; a single value is a list of one.
impl<T: Setting> ReadField for Vec<T> {
    fn read_field(table: &Table<'_>, name: &str) -> Result<Self, Reported> {
        table.read_list(name)
    }
}

/// The path of a file that must be readable.
impl ReadField for PathBuf {
    fn read_field(table: &Table<'_>, name: &str) -> Result<Self, Reported> {
        table.read_file(name)
    }
}

/// A count that its bounds keep within a smaller type.
macro_rules! small_count {
    ($($type:ty),*) => {$(
        impl ReadField for $type {
            fn read_field(table: &Table<'_>, name: &str) -> Result<Self, Reported> {
                table.read::<u32>(name).map(|count| Self::try_from(count).unwrap_or(Self::MAX))
            }
        }
    )*};
}

small_count!(u16, i32);

/// Declares a section of a configuration file as a struct.
///
/// ```
/// use std::time::Duration;
///
/// service::settings! {
///     /// The path to the receiver.
///     #[derive(Debug, Clone)]
///     pub struct Wan: Table "wan" {
///         /// Time that a record waits for others.
///         linger: Duration = default(r#""5 ms""#), "a duration, such as `5 ms`", [r#""0 ms""#, r#""1 s""#], live;
///     }
/// }
/// ```
///
/// The doc comments are the text of `docs/reference/configuration.md`. A row is the field's name and type; `required`,
/// `default(TOML)` or `otherwise(WORDS)`; the kind of value, in words; bounds in TOML; and `live` if a running process
/// takes a new value. `as FUNCTION` before the `=` reads the field by another function than its type's.
///
/// `shared` rows take their [`Field`](crate::config::Field) from elsewhere. `parts` are fields of the struct that are
/// no settings of this section: each has an expression that reads it. Where it changes in a running process, `live`
/// replaces it, `adopt_live` adopts its own live settings, and `adopt_live(FUNCTION)` does so with a function.
#[macro_export]
macro_rules! settings {
    (
        $(#[doc = $section_doc:literal])+
        #[derive($($derive:ident),+)]
        pub struct $struct:ident: $shape:ident $path:literal {
            $(
                $(#[doc = $doc:literal])+
                $field:ident: $type:ty $(as $reader:path)? = $absent:ident $(($text:expr))?, $kind:literal
                    $(, [$min:expr, $max:expr])? $(, $live:ident)?;
            )*
        }
        $( shared { $( $(#[doc = $shared_doc:literal])+ $shared:ident: $shared_type:ty = $shared_field:expr; )* } )?
        $( parts($table:ident) {
            $( $(#[doc = $part_doc:literal])+ $part:ident: $part_type:ty = $part_reader:expr
                $(, $part_live:ident $(($part_function:path))?)?; )*
        } )?
    ) => {
        $(#[doc = $section_doc])+
        #[derive($($derive),+)]
        #[allow(unreachable_pub, reason = "a test may declare a section")]
        pub struct $struct {
            $( $(#[doc = $doc])+ pub $field: $type, )*
            $($( $(#[doc = $shared_doc])+ pub $shared: $shared_type, )*)?
            $($( $(#[doc = $part_doc])+ pub $part: $part_type, )*)?
        }

        impl $crate::config::ReadSection for $struct {
            const SECTION: $crate::config::Section = $crate::config::Section {
                path: $path,
                shape: $crate::config::Shape::$shape,
                doc: concat!($($section_doc),+),
                fields: &[
                    $( $crate::config::Field {
                        name: stringify!($field),
                        kind: $kind,
                        absent: $crate::settings!(@absent $absent $(($text))?),
                        bounds: $crate::settings!(@bounds $($min, $max)?),
                        live: $crate::settings!(@is_live $($live)?),
                        doc: concat!($($doc),+),
                    }, )*
                    $($( $shared_field, )*)?
                ],
            };

            fn read_section(table: &$crate::config::Table<'_>) -> Result<Self, $crate::config::Reported> {
                // All of it before the first error is returned: every problem is reported.
                $( let $field = $crate::settings!(@read table, stringify!($field), $type $(, $reader)?); )*
                $($( let $shared = <$shared_type>::read(table); )*)?
                $( let $table = table; $( let $part: Result<$part_type, $crate::config::Reported> = $part_reader; )* )?
                Ok(Self {
                    $( $field: $field?, )*
                    $($( $shared: $shared?, )*)?
                    $($( $part: $part?, )*)?
                })
            }
        }

        impl $crate::config::AdoptLive for $struct {
            #[allow(unused_variables, reason = "not every section has live settings")]
            fn adopt_live(&mut self, new: Self) {
                $( $( $crate::settings!(@$live self.$field, new.$field); )? )*
                $($( $( $crate::settings!(@$part_live $(($part_function))? self.$part, new.$part); )? )*)?
            }
        }
    };
    (@absent required) => { $crate::config::Absent::Required };
    (@absent default($toml:expr)) => { $crate::config::Absent::Default($toml) };
    (@absent otherwise($words:expr)) => { $crate::config::Absent::Otherwise($words) };
    (@bounds) => { None };
    (@bounds $min:expr, $max:expr) => { Some(($min, $max)) };
    (@is_live) => { false };
    (@is_live live) => { true };
    (@read $table:ident, $name:expr, $type:ty) => { $table.read::<$type>($name) };
    (@read $table:ident, $name:expr, $type:ty, $reader:path) => { $reader($table, $name) };
    (@live $running:expr, $new:expr) => { $running = $new };
    (@adopt_live $running:expr, $new:expr) => { $crate::config::AdoptLive::adopt_live(&mut $running, $new) };
    (@adopt_live ($function:path) $running:expr, $new:expr) => { $function(&mut $running, $new) };
}
