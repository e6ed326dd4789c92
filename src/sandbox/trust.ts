import { authorityHash } from '../base/certificates.ts';

/** The folder in which every sandbox with a network finds whom it trusts, its own authority among them. */
export const trustFolder = '/etc/sealwright';

/** What is in it. */
export const trustFiles = {
  /** The authority alone, as PEM. */
  authority: 'ca.pem',
  /** The system's certificates and the authority, as PEM. */
  bundle: 'ca-certificates.crt',
  /** The same as a Java key store. */
  java: 'cacerts',
  /** A policy for Chromium and Chrome, which look at no file of the system. */
  browser: 'browser-policy.json',
} as const;
export type TrustFile = (typeof trustFiles)[keyof typeof trustFiles];

/** Where programs look, under /etc, and the file that they find there. */
export const trustPlaces: Readonly<Record<string, TrustFile>> = {
  'ssl/certs/ca-certificates.crt': trustFiles.bundle, // Debian: OpenSSL, GnuTLS, Go, curl, git, wget
  'ssl/cert.pem': trustFiles.bundle, // OpenSSL as it is built elsewhere
  'pki/tls/certs/ca-bundle.crt': trustFiles.bundle, // programs built for Red Hat's, Python wheels among them
  [`ssl/certs/${authorityHash}.0`]: trustFiles.authority, // OpenSSL's look-up in the folder
  'ssl/certs/java/cacerts': trustFiles.java, // every Java of Debian's
  'chromium/policies/managed/sealwright.json': trustFiles.browser,
  'opt/chrome/policies/managed/sealwright.json': trustFiles.browser,
};

const authority = `${trustFolder}/${trustFiles.authority}`;
const bundle = '/etc/ssl/certs/ca-certificates.crt';

/**
 * For programs that bring certificates of their own or were built to look elsewhere. The gateway decides the same
 * whatever becomes of them: without them a program only fails to verify it.
 */
export const trustEnvironment: Readonly<Record<string, string>> = {
  NODE_EXTRA_CA_CERTS: authority, // Node, npm, Bun: beside those that they bring
  SSL_CERT_FILE: bundle, // OpenSSL wherever it was built, uv, httpx, Ruby, rustls with native roots, curl's program
  REQUESTS_CA_BUNDLE: bundle, // Python's requests and what is built on it, pip too
  CURL_CA_BUNDLE: bundle, // programs that follow curl's, R among them
  GIT_SSL_CAINFO: bundle, // git with a curl built elsewhere
  AWS_CA_BUNDLE: bundle, // the AWS CLI and SDKs
  GRPC_DEFAULT_SSL_ROOTS_FILE_PATH: bundle, // gRPC for Python, Ruby, C++ and Node
  DENO_TLS_CA_STORE: 'system', // Deno, which brings Mozilla's
};
