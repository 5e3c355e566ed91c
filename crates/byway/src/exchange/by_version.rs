//! By version: what a side of an exchange does, by its version of HTTP.

/// What a method does, in `by_version!(self.method(arguments), h1 => in HTTP/1, h2 => in HTTP/2, h3 => in
/// HTTP/3)`. Without the last part HTTP/3 does the same as HTTP/2; without the last two both call the
/// method of the same name of their streams, and without any part HTTP/1 does, too. The stream of a
/// test always has that method.
macro_rules! by_version {
    ($self:ident.$method:ident($($argument:expr),*)) => {
        by_version!($self.$method($($argument),*), h1 => h1.$method($($argument),*))
    };
    ($self:ident.$method:ident($($argument:expr),*), $h1:pat => $in_h1:expr) => {
        by_version!(
            $self.$method($($argument),*),
            $h1 => $in_h1,
            stream => stream.$method($($argument),*)
        )
    };
    ($self:ident.$method:ident($($argument:expr),*), $h1:pat => $in_h1:expr, $h2:pat => $in_h2:expr) => {
        by_version!($self.$method($($argument),*), $h1 => $in_h1, $h2 => $in_h2, $h2 => $in_h2)
    };
    (
        $self:ident.$method:ident($($argument:expr),*),
        $h1:pat => $in_h1:expr, $h2:pat => $in_h2:expr, $h3:pat => $in_h3:expr
    ) => {
        match $self {
            Self::H1($h1) => $in_h1,
            Self::H2($h2) => $in_h2,
            Self::H3($h3) => $in_h3,
            #[cfg(test)]
            Self::Double(stream) => stream.$method($($argument),*),
        }
    };
}

/// The same for an upstream, of which every other version has the method.
macro_rules! by_upstream_version {
    ($self:ident.$method:ident($($argument:expr),*)) => {
        by_upstream_version!($self.$method($($argument),*), h1 => h1.$method($($argument),*))
    };
    ($self:ident.$method:ident($($argument:expr),*), $h1:pat => $in_h1:expr) => {
        match $self {
            Self::H1($h1) => $in_h1,
            Self::H2(h2) => h2.$method($($argument),*),
            #[cfg(test)]
            Self::Double(stream) => stream.$method($($argument),*),
        }
    };
}
