import { witnessSchemeOf, witnessSchemes } from '../../contract/witnesses.ts';
import type { Witness, WitnessParts } from './witness.ts';

/** The implementation that the scheme of the witness's URL names; the others are not even loaded. Opens no connection yet. */
export async function openWitness(parts: WitnessParts): Promise<Witness> {
  const scheme = witnessSchemeOf(parts.settings.url);
  if (scheme === null) throw new Error('no witness has this scheme');
  switch (witnessSchemes[scheme]) {
    case 'file':
      return (await import('./file.ts')).openFileWitness(parts);
    case 's3':
      return (await import('./s3.ts')).openS3Witness(parts);
    case 'tlog':
      return (await import('./tlog.ts')).openTlogWitness(parts);
    case 'post':
      return (await import('./post.ts')).openPostWitness(parts);
  }
}
