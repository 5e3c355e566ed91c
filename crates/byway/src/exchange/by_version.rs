//! By version: what a side of an exchange does, by its version of HTTP.

/// What a method does, in `by_version!(self.method(arguments), h1 => in HTTP/1)`. Without the second
/// part, HTTP/1 has a method of the same name. Another version always has: so far that is the
/// stream of a test.
macro_rules! by_version {
    ($self:ident.$method:ident($($argument:expr),*)) => {
        by_version!($self.$method($($argument),*), h1 => h1.$method($($argument),*))
    };
    ($self:ident.$method:ident($($argument:expr),*), $h1:pat => $body:expr) => {
        match $self {
            Self::H1($h1) => $body,
            #[cfg(test)]
            Self::Double(stream) => stream.$method($($argument),*),
        }
    };
}
