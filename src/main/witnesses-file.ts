import { dirname, resolve } from 'node:path';
import { keyTypes, parseVerifierKey } from '../audit/signed-note.ts';
import { type DescribedWitness, type WitnessSettings, witnessesFile } from '../contract/witnesses.ts';
import { readCertificates, readDescribed, readIdentity, readSecret } from './described-file.ts';
import { SettingError } from './settings.ts';

/**
 * What the file of witnesses says, with the secrets, authorities and certificates that it names read; with `optional` nothing
 * where there is no such file. Throws SettingError, which says where and what to do and holds no value of the file.
 */
export function readWitnesses(path: string, { optional }: { optional: boolean }): WitnessSettings[] {
  const said = readDescribed({ setting: 'witnessesFile', path, optional }, witnessesFile);
  return said === null ? [] : said.witnesses.map((witness) => load(path, witness));
}

function load(
  path: string,
  { secretFile, caFile, certFile, keyFile, ...rest }: DescribedWitness,
): WitnessSettings {
  const beside = (name: string) => resolve(dirname(path), name);
  if (rest.key !== undefined && parseVerifierKey(rest.key, keyTypes.cosignature) === null)
    throw new SettingError(
      `${path}: the key of the witness ${rest.name} is not NAME+ID+BASE64 of a key for Ed25519 cosignatures (type 4), as its operator gives it`,
    );
  const paired = certFile !== undefined && keyFile !== undefined;
  return {
    ...rest,
    secret: secretFile === undefined ? null : readSecret(path, beside(secretFile), 'the secret of a witness'),
    authorities: caFile === undefined ? [] : readCertificates(path, beside(caFile)),
    identity: paired ? readIdentity(path, beside(certFile), beside(keyFile)) : null,
  };
}
