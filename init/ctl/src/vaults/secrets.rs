//! Keys and tokens from files and descriptors. None is an argument, since process lists show arguments.

use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use ctl::{Credentials, Identity, Token};
use serde_json::json;
use zeroize::Zeroizing;

use crate::args::{ClientArgs, ClientKey, CredentialArgs};
use crate::run::{Error, read};
use crate::{new_file, show};

/// Generates the client key if it does not exist, and prints the hash that a grant must contain.
pub(crate) fn client_key(args: &ClientKey) -> Result<ExitCode, Error> {
    let identity = match kept(&args.file) {
        Err(Error::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            let pem = Identity::new_operator_pem().map_err(ctl::Error::Identity)?;
            // If another process created the file meanwhile, its key is used.
            new_file::create(&args.file, &pem)?;
            kept(&args.file)?
        }
        kept => kept?,
    };
    let thumbprint = identity.thumbprint();
    if args.json {
        show::json(&json!({ "cnf": { "x5t#S256": thumbprint } }))?;
    } else {
        show::lines(&[thumbprint])?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The given client key, if any.
pub(super) fn identity(args: &ClientArgs) -> Result<Option<Identity>, Error> {
    match (&args.client_key, args.client_key_fd) {
        (Some(path), _) => kept(path).map(Some),
        (None, Some(descriptor)) => parse(&descriptor_path(descriptor)).map(Some),
        (None, None) => Ok(None),
    }
}

/// The issuer's key, or the given tokens.
pub(super) fn credentials(args: &CredentialArgs, grant: Option<u32>) -> Result<Credentials, Error> {
    if let Some(path) = &args.issuer_key {
        return Ok(Credentials::of_issuer(&read(path)?, args.kid.clone(), args.audience.clone())?);
    }
    if grant.is_some() && grant == args.bearer_fd {
        return Err(Error::SameDescriptor);
    }
    Ok(Credentials::given(grant.map(token).transpose()?, args.bearer_fd.map(token).transpose()?))
}

fn token(descriptor: u32) -> Result<Token, Error> {
    Token::new(&read(&descriptor_path(descriptor))?).map_err(|source| Error::Token { descriptor, source })
}

fn descriptor_path(descriptor: u32) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{descriptor}"))
}

/// Reads a key from a file that only its owner can read.
fn kept(path: &Path) -> Result<Identity, Error> {
    let failed = |source| Error::File { path: path.to_owned(), source };
    let metadata = std::fs::metadata(path).map_err(failed)?;
    if !metadata.is_file() {
        return Err(Error::NoFile { path: path.to_owned() });
    }
    let mode = metadata.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(Error::Mode { path: path.to_owned(), mode });
    }
    // Root can read every file, so the owner must be checked beside the mode.
    if metadata.uid() != rustix::process::geteuid().as_raw() {
        return Err(failed(io::Error::new(io::ErrorKind::PermissionDenied, "the file belongs to another user")));
    }
    parse(path)
}

fn parse(path: &Path) -> Result<Identity, Error> {
    let pem: Zeroizing<Vec<u8>> = read(path)?;
    Identity::from_operator_pem(&pem).map_err(|_| Error::ClientKey { path: path.to_owned() })
}
