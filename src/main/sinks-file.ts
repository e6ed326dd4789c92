import { dirname, resolve } from 'node:path';
import { webhookKey } from '../audit/sinks/webhook.ts';
import { type DescribedSink, type SinkSettings, sinksFile } from '../contract/sinks.ts';
import { readCertificates, readDescribed, readIdentity, readSecret } from './described-file.ts';
import { SettingError } from './settings.ts';

/**
 * What the file of sinks says, with the secrets, authorities and certificates that it names read; with `optional` nothing
 * where there is no such file. Throws SettingError, which says where and what to do and holds no value of the file.
 */
export function readSinks(path: string, { optional }: { optional: boolean }): SinkSettings[] {
  const said = readDescribed({ setting: 'sinksFile', path, optional }, sinksFile);
  return said === null ? [] : said.sinks.map((sink) => load(path, sink));
}

function load(path: string, { secretFile, caFile, certFile, keyFile, ...rest }: DescribedSink): SinkSettings {
  const beside = (name: string) => resolve(dirname(path), name);
  const secret =
    secretFile === undefined ? null : readSecret(path, beside(secretFile), 'the secret of a sink');
  if (rest.url.startsWith('webhook+') && webhookKey(secret ?? '') === null)
    throw new SettingError(
      `${path}: ${beside(secretFile!)} holds a key that is too short to sign with: put at least 24 bytes there, such as what \`openssl rand -hex 32\` prints`,
    );
  const paired = certFile !== undefined && keyFile !== undefined;
  return {
    ...rest,
    secret,
    authorities: caFile === undefined ? [] : readCertificates(path, beside(caFile)),
    identity: paired ? readIdentity(path, beside(certFile), beside(keyFile)) : null,
  };
}
