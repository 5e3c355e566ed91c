//! Authority: an ACME directory, and the account that is used there.
//!
//! The account is created at its first use and kept in the state folder. Several authorities, or
//! several accounts of one, each have a folder of their own.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use instant_acme::{Account, AccountCredentials, ExternalAccountKey, NewAccount};

use super::failure::{Failure, FailureKind};
use super::folder::Folder;
use super::transport::{HttpClient, Transport};

/// An authority and the account to use there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authority {
    /// The URL of the directory. It has to begin with `https://`.
    pub directory: String,
    /// An address for messages about the account. Optional for most authorities.
    pub email: Option<String>,
    /// The binding to an account elsewhere, if the authority demands one.
    pub binding: Option<Binding>,
    /// The profile to ask for, such as `shortlived`, if the authority has profiles.
    pub profile: Option<String>,
}

/// An external account binding (RFC 8555 section 7.3.4).
#[derive(Clone, PartialEq, Eq)]
pub struct Binding {
    /// The identifier of the key.
    pub key_id: String,
    /// The key itself, decoded.
    pub key: Vec<u8>,
}

impl Binding {
    /// Decodes a key as authorities print it: base64, of either alphabet.
    pub fn new(key_id: &str, key: &str) -> Option<Self> {
        let key = key.trim().trim_end_matches('=');
        let decoded = BASE64_URL_SAFE_NO_PAD.decode(key).ok().or_else(|| {
            let padding = "=".repeat((4 - key.len() % 4) % 4);
            BASE64_STANDARD.decode(format!("{key}{padding}")).ok()
        })?;
        (!decoded.is_empty() && !key_id.is_empty()).then(|| Self {
            key_id: key_id.to_owned(),
            key: decoded,
        })
    }
}

impl std::fmt::Debug for Binding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Binding")
            .field("key_id", &self.key_id)
            .finish_non_exhaustive()
    }
}

impl Authority {
    /// The folder of the account, below the state folder.
    pub(crate) fn folder(&self, state: &Path) -> Folder {
        let host = self.directory.split("://").nth(1).unwrap_or_default();
        let host = host.split(['/', '?', '#']).next().unwrap_or_default();
        let host: String = host
            .chars()
            .map(|c| {
                if c.is_ascii_alphanumeric() || c == '.' || c == '-' {
                    c
                } else {
                    '_'
                }
            })
            .take(100)
            .collect();
        let binding = self.binding.as_ref().map(|binding| &*binding.key_id);
        let identity = format!("{}\n{}", self.directory, binding.unwrap_or_default());
        let hash = digest(&SHA256, identity.as_bytes());
        let hash: String = hash.as_ref()[..8]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        Folder::new(
            state
                .join("acme")
                .join(PathBuf::from(format!("{host}-{hash}"))),
        )
    }

    /// The account from the folder, or a new one.
    pub(crate) async fn account(
        &self,
        folder: &Folder,
        transport: &Transport,
    ) -> Result<Account, Failure> {
        let builder = || Account::builder_with_http(Box::new(transport.clone()));
        let state = |error| {
            let path = folder.path().display();
            Failure::new(
                FailureKind::State,
                format_args!("cannot use {path}: {error}"),
            )
        };
        if let Some(json) = folder.account().map_err(state)? {
            let credentials: AccountCredentials = serde_json::from_slice(&json)
                .map_err(|error| state(std::io::Error::other(error)))?;
            let account = builder().from_credentials(credentials).await;
            return account.map_err(|error| Failure::of(&error));
        }
        let contact = self.email.as_ref().map(|email| format!("mailto:{email}"));
        let contacts: Vec<&str> = contact.as_deref().into_iter().collect();
        let new = NewAccount {
            contact: &contacts,
            terms_of_service_agreed: true,
            only_return_existing: false,
        };
        let binding = self.binding.as_ref();
        let binding =
            binding.map(|binding| ExternalAccountKey::new(binding.key_id.clone(), &binding.key));
        let created = builder().create(&new, self.directory.clone(), binding.as_ref());
        let (account, credentials) = created.await.map_err(|error| {
            let mut failure = Failure::of(&error);
            // What an authority refuses here concerns the account, whatever it calls it.
            if failure.kind != FailureKind::RateLimit
                && matches!(error, instant_acme::Error::Api(_))
            {
                failure.kind = FailureKind::Account;
            }
            failure
        })?;
        let json = serde_json::to_vec(&credentials)
            .map_err(|error| state(std::io::Error::other(error)))?;
        folder.put_account(&json).map_err(state)?;
        tracing::info!(
            directory = %self.directory,
            account = account.id(),
            "created an account at the authority"
        );
        Ok(account)
    }
}

/// An account that is opened once and kept.
pub(crate) struct AccountHolder {
    pub(crate) authority: Authority,
    pub(crate) folder: Folder,
    pub(crate) transport: Transport,
    // Held while the account is created, so that there is never a second one.
    account: tokio::sync::Mutex<Option<Account>>,
}

impl AccountHolder {
    pub(crate) fn new(authority: Authority, state: &Path, client: Arc<dyn HttpClient>) -> Self {
        Self {
            folder: authority.folder(state),
            transport: Transport::new(client),
            authority,
            account: tokio::sync::Mutex::new(None),
        }
    }

    pub(crate) async fn account(&self) -> Result<Account, Failure> {
        let mut account = self.account.lock().await;
        if let Some(account) = &*account {
            return Ok(account.clone());
        }
        let opened = self
            .authority
            .account(&self.folder, &self.transport)
            .await?;
        *account = Some(opened.clone());
        Ok(opened)
    }

    /// The authority does not know this account: the next call of [`Self::account`] makes another,
    /// unless an order beside this one has done so already.
    pub(crate) async fn forget(&self, unknown: &Account) {
        let mut account = self.account.lock().await;
        if account.take_if(|kept| kept.id() == unknown.id()).is_some() {
            let _ = self.folder.forget_account();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn authority(directory: &str, key_id: Option<&str>) -> Authority {
        Authority {
            directory: directory.to_owned(),
            email: None,
            binding: key_id.map(|key_id| Binding::new(key_id, "c2VjcmV0").unwrap()),
            profile: None,
        }
    }

    #[test]
    fn each_account_of_each_directory_has_a_folder_of_its_own() {
        let folders = [
            authority("https://a.example/directory", None),
            authority("https://a.example/other", None),
            authority("https://a.example/directory", Some("one")),
            authority("https://a.example:14000/directory", None),
            authority("https://../../etc", None),
        ]
        .map(|authority| authority.folder(Path::new("/s")).path().to_owned());
        for (index, folder) in folders.iter().enumerate() {
            assert_eq!(folder.parent(), Some(Path::new("/s/acme")));
            assert!(!folders[..index].contains(folder));
        }
        assert!(
            folders[0]
                .to_str()
                .unwrap()
                .starts_with("/s/acme/a.example-")
        );
    }

    #[test]
    fn the_key_of_a_binding_is_read_in_either_alphabet_and_is_not_printed() {
        for text in ["-_-_", "+/+/", " -_-_\n", "-_-_=="] {
            assert_eq!(
                Binding::new("id", text).unwrap().key,
                [0xfb, 0xff, 0xbf],
                "{text}"
            );
        }
        assert_eq!(Binding::new("id", "not base64!"), None);
        assert_eq!(Binding::new("id", ""), None);
        let printed = format!("{:?}", Binding::new("id", "c2VjcmV0").unwrap());
        assert_eq!(printed, r#"Binding { key_id: "id", .. }"#);
    }
}
