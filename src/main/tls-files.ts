import { createPrivateKey, X509Certificate } from 'node:crypto';
import { readFileSync, statSync } from 'node:fs';
import { createSecureContext } from 'node:tls';
import type { TlsPair } from '../server/tls.ts';
import { SettingError, type Settings } from './settings.ts';

export type TlsPaths = { readonly certificate: string; readonly key: string };

/** Where the certificate and its key are; null where the settings name none. */
export function tlsPathsOf({ tlsCert, tlsKey }: Settings): TlsPaths | null {
  return tlsCert === null || tlsKey === null ? null : { certificate: tlsCert, key: tlsKey };
}

/** The pair in the files. Throws SettingError, which names the file, what is wrong with it and the fix. */
export function readTlsPair(paths: TlsPaths, now: number): TlsPair {
  const pair = { certificate: read('tlsCert', paths.certificate), key: read('tlsKey', paths.key) };
  const certificate = certificateOf(paths.certificate, pair.certificate);
  const key = keyOf(paths.key, pair.key);
  if (!certificate.checkPrivateKey(key))
    throw new SettingError(
      `tlsKey: ${paths.key} is not the key of the first certificate in ${paths.certificate}. Name the key that it was requested with, and put the server's own certificate before its chain.`,
    );
  if (+certificate.validToDate <= now)
    throw new SettingError(
      `tlsCert: ${paths.certificate} expired at ${certificate.validToDate.toISOString()}. Renew it.`,
    );
  try {
    createSecureContext({ cert: pair.certificate, key: pair.key });
  } catch (error) {
    throw new SettingError(
      `tlsCert: ${paths.certificate} cannot be used for TLS: ${(error as Error).message}. Use a key of at least 2048 bits (RSA) or P-256.`,
    );
  }
  return pair;
}

function read(setting: 'tlsCert' | 'tlsKey', path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    const fix =
      code === 'ENOENT'
        ? 'There is no such file. Name the file in PEM, by its absolute path.'
        : code === 'EACCES'
          ? 'The user who starts the server may not read it. Change its owner or its mode.'
          : `It cannot be read (${code}). Name a file in PEM.`;
    throw new SettingError(`${setting}: ${path}: ${fix}`);
  }
}

function certificateOf(path: string, text: string): X509Certificate {
  try {
    return new X509Certificate(text);
  } catch {
    throw new SettingError(
      `tlsCert: ${path} does not start with a certificate in PEM. Put the server's certificate first, then its chain.`,
    );
  }
}

function keyOf(path: string, text: string) {
  try {
    return createPrivateKey(text);
  } catch {
    throw new SettingError(
      `tlsKey: ${path} is not a private key in PEM without a passphrase. Convert it with: openssl pkey -in KEY -out KEY.pem`,
    );
  }
}

export type TlsFollowing = {
  readonly paths: TlsPaths;
  /** The pair in use. */
  readonly current: TlsPair;
  readonly now: () => number;
  /** Another pair that holds is in the files. */
  readonly onPair: (pair: TlsPair) => void;
  /** What is in the files cannot be used, as when only one of them is written yet; the pair before stays. */
  readonly onProblem: (message: string) => void;
};

const lookEveryMs = 1_000;

/** Looks once a second whether a file is another one. Returns what ends it. */
export function followTlsFiles(following: TlsFollowing): () => void {
  const { paths, now, onPair, onProblem } = following;
  let { current } = following;
  // Nothing yet, so that what was written between the start and now is not overlooked.
  let seen = '';
  const look = () => {
    const stamp = `${stampOf(paths.certificate)} ${stampOf(paths.key)}`;
    if (stamp === seen) return;
    seen = stamp;
    try {
      const pair = readTlsPair(paths, now());
      if (pair.certificate === current.certificate && pair.key === current.key) return;
      current = pair;
      onPair(pair);
    } catch (error) {
      onProblem((error as Error).message);
    }
  };
  const timer = setInterval(look, lookEveryMs);
  timer.unref();
  return () => clearInterval(timer);
}

/** Other text whenever the file behind the path, however it is linked, was written or replaced. */
function stampOf(path: string): string {
  const stat = statSync(path, { bigint: true, throwIfNoEntry: false });
  return stat === undefined ? 'absent' : `${stat.dev}:${stat.ino}:${stat.size}:${stat.mtimeNs}`;
}
