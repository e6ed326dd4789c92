import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { redactionLimits } from '../src/redaction/limits.ts';
import { type ShapeRule, shapeRules } from '../src/redaction/shape-rules.ts';

export const redactionFile = join(import.meta.dirname, '..', 'docs', 'reference', 'redaction.md');

const {
  lookAheadCharacters,
  pieceCharacters,
  piecesMax,
  piecesPerHolderMax,
  valueCharactersMax,
  valueCharactersMin,
} = redactionLimits;
const number = (value: number): string => value.toLocaleString('en-US');

const introduction = `# Redaction

Before anything is written to the audit log or to the log of a process, secrets are taken out of every string of it: of
actors, resources, rules, requests, data and the names of its members, messages, stacks of errors. In place of each stands
\`[redacted:WHY]\`, which says neither how long it was nor a part of it. It is done first and texts are cut to their bounds
afterwards, so a secret that a bound goes through is gone whole. Nothing turns it off.

## By name
The value of a member whose name says that it is secret is replaced by \`[redacted:by-name]\`: \`password\`, \`secret\`,
\`token\`, \`authorization\`, \`cookie\`, \`credentials\`, \`apiKey\`, \`privateKey\`, \`otp\`, \`recoveryCodes\` and their like, alone
or in longer names, in any case and spelling (\`clientSecret\`, \`X-Api-Key\`, \`DB_PASSWORD\`). So is the word behind an
option of such a name (\`--password hunter2\`). Names that only name a credential or say something of it stay:
\`tokenId\`, \`secretName\`, \`token_type\`, \`passwordChangedAt\`. Ids of Sealwright (\`tok_…\`, \`crd_…\`), \`true\`,
\`false\`, nothing, and counts stay under any name.

## By shape
Well-known tokens are found wherever they stand in a text. The rules are in \`src/redaction/shape-rules.ts\`:

| \`[redacted:…]\` | what | begins with |
|---|---|---|
`;

const rest = `
## By value
What a process holds as a secret is found in what it writes, whatever its name and shape. Control and runner hold:

| \`[redacted:…]\` | what | while |
|---|---|---|
| \`run-environment\` | variables of a run whose names say that they are secret | from before its first event until its end |
| \`run-identity\` | the tokens of a run, the newest and the one before | until its end |
| \`bootstrap-token\`, \`client-secret\`, \`identity-key\`, \`channel-key\` | what control was started with, the runner with the last | always |

Found are a value as it is; percent-encoded and escaped as in JSON, in any mixture; in base64 and base64url, also
wrapped in lines or inside a longer text; in hexadecimal; split over white space, lines, and neighbouring strings of a list;
and parts of ${pieceCharacters} characters of longer ones. Values are not kept for it: three rolling hashes and a salted SHA-256 of each
part are.

## What it does not do
- A value under ${valueCharactersMin} characters is not looked for by value: it would be found in ordinary words. Of one over ${number(valueCharactersMax)}
  characters only that much is. ${number(piecesPerHolderMax)} parts of one run and ${number(piecesMax)} in all are looked for, each spelling counted; past that the
  log of control says so.
- Spellings that are made to hide are not found by value: reversed, compressed, encrypted, encoded twice, hexadecimal in
  mixed case, split by other characters than white space, quotes and commas, or by more than ${number(lookAheadCharacters)} characters where a
  bound cuts the text.
- A part under ${pieceCharacters} characters of a longer value is found by shape alone.
- A secret that nobody named, whose shape nobody knows and that no process holds is not found. Variables of runs are known
  to the control that started them: one that is started later does not know those of runs that already run.
- Output of runs is the owner's and is not redacted; it is not part of the record.
- A value is looked for in all events, not just in those of its run. So whoever guesses a secret of another run and puts
  the guess into an event of its own sees whether it was right; each guess is a request, counted and on record.
`;

/** The page, from the rules that are in force. */
export function redactionReference(): string {
  return `${introduction}${shapeRules.map(row).join('\n')}\n${rest}`;
}

const shownMax = 12;

function row({ id, what, begins, body }: ShapeRule): string {
  const shown = begins.slice(0, shownMax).map((begin) => `\`${begin.trimEnd()}\``);
  const more = begins.length > shownMax ? ' …' : '';
  const length =
    body.form === 'run'
      ? `, then ${body.most === body.least ? '' : 'at least '}${body.least} characters`
      : '';
  return `| \`${id}\` | ${what} | ${shown.join(' ')}${more}${length} |`;
}

if (import.meta.main) writeFileSync(redactionFile, redactionReference());
