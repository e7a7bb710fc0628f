//! The signing keys of the tenants: RSA-2048, made once, kept as PEM files.

use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::KeyPair as _;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jsonwebtoken::{DecodingKey, EncodingKey};

use crate::store::{lock, write_whole};

/// A tenant's key pair.
pub struct TenantKey {
    /// Signs tokens.
    pub encoding: EncodingKey,
    /// Verifies them.
    pub decoding: DecodingKey,
    /// The public half as the Tenants API shows it: a PEM `PUBLIC KEY`.
    pub public_pem: String,
}

/// Reads the tenant's key, made at the first need.
pub fn load(directory: &Path, tenant_id: &str) -> anyhow::Result<TenantKey> {
    let (private_file, public_file) = files(directory, tenant_id);
    let _lock = lock(&directory.join("keys.lock"))?;
    if !private_file.exists() || !public_file.exists() {
        generate(&private_file, &public_file)?;
    }
    let read = |file: &Path| std::fs::read(file).with_context(|| format!("cannot read {}", file.display()));
    let public_pem = read(&public_file)?;
    Ok(TenantKey {
        encoding: EncodingKey::from_rsa_pem(&read(&private_file)?)
            .with_context(|| format!("{} is damaged", private_file.display()))?,
        decoding: DecodingKey::from_rsa_pem(&public_pem)
            .with_context(|| format!("{} is damaged", public_file.display()))?,
        public_pem: String::from_utf8(public_pem)?,
    })
}

/// Replaces the tenant's key by a new one.
pub fn rotate(directory: &Path, tenant_id: &str) -> anyhow::Result<()> {
    let (private_file, public_file) = files(directory, tenant_id);
    let _lock = lock(&directory.join("keys.lock"))?;
    generate(&private_file, &public_file)
}

fn files(directory: &Path, tenant_id: &str) -> (PathBuf, PathBuf) {
    let path = |kind: &str| directory.join(format!("{tenant_id}.{kind}.pem"));
    (path("private"), path("public"))
}

fn generate(private_file: &Path, public_file: &Path) -> anyhow::Result<()> {
    let pair = KeyPair::generate(KeySize::Rsa2048).map_err(|_| anyhow!("cannot make an RSA key"))?;
    let private: Pkcs8V1Der<'_> = pair.as_der().map_err(|_| anyhow!("cannot encode an RSA key"))?;
    let public: PublicKeyX509Der<'_> =
        pair.public_key().as_der().map_err(|_| anyhow!("cannot encode an RSA key"))?;
    write_whole(private_file, pem("PRIVATE KEY", private.as_ref()).as_bytes())?;
    write_whole(public_file, pem("PUBLIC KEY", public.as_ref()).as_bytes())
}

fn pem(label: &str, der: &[u8]) -> String {
    let body = STANDARD.encode(der);
    let mut text = format!("-----BEGIN {label}-----\n");
    for line in body.as_bytes().chunks(64) {
        text.extend(line.iter().map(|byte| char::from(*byte)));
        text.push('\n');
    }
    text.push_str(&format!("-----END {label}-----\n"));
    text
}
