import type { Command } from 'commander';
import type { UnverifiedCheckpoint } from '../audit/checkpoint.ts';
import type { ConsistencyProofView } from '../contract/audit-proof-schemas.ts';
import { asOwner } from './as-owner.ts';
import { readCheckpoints } from './audit-verify.ts';
import { type Context, print } from './context.ts';
import { escapeLine } from './escape.ts';
import { CliFailure, UsageFailure } from './failure.ts';

type CommonFlags = { json?: boolean; local?: boolean };

const localHelp = "use this machine's own socket, as the owner of the data folder";

/** What a server proves of its log, below `sealwright audit`. */
export function defineAuditProofs(audit: Command, context: Context): void {
  audit
    .command('checkpoint')
    .summary('print the newest signed checkpoints')
    .description(
      'Prints the newest signed checkpoints, one for each stream. Keep them where the server cannot write: with them\n' +
        "'audit verify --since-checkpoint' and 'audit consistency' find a log that was cut, rolled back or made anew.",
    )
    .option('--stream <stream>', 'only of this stream, such as control')
    .option('--local', localHelp)
    .action(async (flags: { stream?: string; local?: boolean }) => {
      await print(
        context.environment,
        await asOwner(context, flags, (api) => api.auditProofs.checkpoints(flags.stream)),
      );
    });
  audit
    .command('prove')
    .summary('prove that an event is in the log')
    .description('Has the server prove that an event is in its log (RFC 9162), and checks the proof here.')
    .argument('<event>', 'a stream and the sequence number in it: control:42')
    .option('--json', 'print the proof as JSON')
    .option('--local', localHelp)
    .action(async (event: string, flags: CommonFlags) => await prove(context, event, flags));
  audit
    .command('consistency')
    .summary('prove that the log still begins with kept checkpoints')
    .description(
      'Has the server prove that its log still begins with what a kept checkpoint was signed for, and checks the proofs\n' +
        'here. Ends with 1 where it does not.',
    )
    .argument('<file>', "what 'audit checkpoint' printed before")
    .option('--json', 'print the proofs as JSON')
    .option('--local', localHelp)
    .action(async (file: string, flags: CommonFlags) => await compare(context, file, flags));
  audit
    .command('keys')
    .summary('print the keys that sign the log now')
    .description(
      "Prints the keys that sign the streams of the log now, a line each. Keep them: 'audit verify --key FILE' then takes\n" +
        'no other log for this one.',
    )
    .option('--local', localHelp)
    .action(async (flags: { local?: boolean }) => {
      const { items } = await asOwner(context, flags, (api) => api.auditProofs.streams());
      await print(context.environment, linesText(items.flatMap(({ key }) => key ?? [])));
    });
  audit
    .command('rotate-key')
    .description(
      'Signs the log of this server with another key from now on. The log says so, signed by the key before: whoever\n' +
        'trusts that one can follow.',
    )
    .option('--local', localHelp)
    .action(async (flags: { local?: boolean }) => {
      const { key } = await asOwner(context, flags, (api) => api.auditProofs.rotateKey());
      await print(context.environment, `${escapeLine(key)}\n`);
    });
}

async function prove(context: Context, event: string, flags: CommonFlags): Promise<void> {
  const [, stream, seq] = /^([a-z0-9][a-z0-9._-]{0,62}):([1-9]\d{0,15})$/.exec(event) ?? [];
  if (stream === undefined)
    throw new UsageFailure(
      `"${event}" names no event`,
      "It looks like control:42, as in the column STREAM of 'audit ls'.",
    );
  const proof = await asOwner(context, flags, (api) =>
    api.auditProofs.inclusion(stream, { seq: Number(seq) }),
  );
  const { verifyInclusion } = await import('../audit/merkle-verify.ts');
  const { index, size, leaf, root } = proof;
  if (!verifyInclusion(bytes(leaf), index, size, proof.proof.map(bytes), bytes(root)))
    throw new CliFailure('The proof that the server gave proves nothing.');
  const text = [
    `event ${index + 1} of ${proof.origin} is in its tree of ${size} events`,
    `leaf ${leaf}`,
    `root ${root}`,
    ...proof.proof.map((node) => `node ${node}`),
  ];
  await print(context.environment, flags.json === true ? jsonText(proof) : linesText(text));
}

type Compared = {
  readonly origin: string;
  readonly kept: number;
  readonly proof: ConsistencyProofView | null;
};

async function compare(context: Context, file: string, flags: CommonFlags): Promise<void> {
  const kept = await readCheckpoints(context, [file]);
  const { items } = await asOwner(context, flags, (api) => api.auditProofs.streams());
  const compared: Compared[] = [];
  for (const checkpoint of kept) {
    const { origin, size } = checkpoint;
    const known = items.find((item) => item.origin === origin);
    const isThere = known !== undefined && known.checkpoint.size >= size;
    const proof = isThere
      ? await asOwner(context, flags, (api) => api.auditProofs.consistency(known.stream, { first: size }))
      : null;
    compared.push({ origin, kept: size, proof: (await holds(checkpoint, proof)) ? proof : null });
  }
  const text = compared.map(({ origin, kept: size, proof }) =>
    proof === null
      ? `${origin}: the log does not begin with the ${size} events that were signed`
      : `${origin}: the log of ${proof.size} events begins with the ${size} that were signed`,
  );
  await print(context.environment, flags.json === true ? jsonText(compared) : linesText(text));
  if (compared.some(({ proof }) => proof === null)) context.status = 1;
}

async function holds(kept: UnverifiedCheckpoint, proof: ConsistencyProofView | null): Promise<boolean> {
  const { verifyConsistency } = await import('../audit/merkle-verify.ts');
  if (proof === null || proof.first !== kept.size || proof.origin !== kept.origin) return false;
  return verifyConsistency(kept.size, proof.size, proof.proof.map(bytes), kept.root, bytes(proof.root));
}

function bytes(base64: string): Buffer {
  return Buffer.from(base64, 'base64');
}

function jsonText(value: unknown): string {
  return `${JSON.stringify(value, null, 2)}\n`;
}

function linesText(lines: readonly string[]): string {
  return lines.map((line) => `${escapeLine(line)}\n`).join('');
}
