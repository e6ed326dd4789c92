import { createHash } from 'node:crypto';
import type { EvidenceEvent, EvidenceStream, EvidenceVerdict } from '../audit/verify-evidence.ts';
import { canonicalJson } from '../base/canonical-json.ts';
import { askedText } from './audit-bundles.ts';
import { escapeLine } from './escape.ts';
import { evidenceStyle } from './evidence-style.ts';

export type ReportParts = {
  readonly verdict: EvidenceVerdict;
  /** Of the answer, in the order of the bundle; fewer than `verdict` counts where there are too many to show. */
  readonly events: readonly EvidenceEvent[];
  /** Whether it was held against keys from elsewhere. */
  readonly trusted: boolean;
  /** The bundle's name and the SHA-256 of all of it, as hex. */
  readonly file: string;
  readonly sha256: string;
};

/**
 * The report of a bundle of evidence: one HTML file without a script or anything from elsewhere, the same for the same
 * bundle. Whatever the bundle holds is text in it, and no character of it hides or reorders others.
 */
export function reportOf(parts: ReportParts): string {
  const policy = `default-src 'none'; style-src 'sha256-${createHash('sha256').update(evidenceStyle).digest('base64')}'`;
  return [
    '<!doctype html>',
    '<html lang="en"><head><meta charset="utf-8">',
    `<meta http-equiv="Content-Security-Policy" content="${policy}">`,
    '<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="referrer" content="no-referrer">',
    `<title>${shown(`Evidence: ${parts.file}`)}</title><style>${evidenceStyle}</style></head><body>`,
    '<h1>Evidence from an audit log</h1>',
    verdictPart(parts),
    askedPart(parts),
    summaryPart(parts),
    timelinePart(parts),
    artifactsPart(parts.verdict),
    proofPart(parts),
    '</body></html>\n',
  ].join('\n');
}

/** Text as HTML: what could be markup or drive the reading of it is escaped. */
function shown(value: unknown): string {
  const text = escapeLine(typeof value === 'string' ? value : String(value ?? ''));
  return text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);
}

function verdictPart({ verdict: { status, problem }, trusted }: ReportParts): string {
  if (problem !== undefined || status !== 'intact')
    return `<p class="verdict bad">NOT VERIFIED. Nothing on this page is proved: ${shown(problem?.what ?? status)}.</p>`;
  if (trusted)
    return '<p class="verdict">Verified: every event on this page is, word for word, in the log that is signed with a key that was given for this.</p>';
  return '<p class="verdict weak">Verified against the keys that the bundle names itself: every event on this page is, word for word, in the log that is signed with them. Whose keys they are is not proved here; see “How to check this yourself”.</p>';
}

function facts(rows: readonly (readonly [string, string])[]): string {
  return `<dl>${rows.map(([name, value]) => `<dt>${shown(name)}</dt><dd>${value}</dd>`).join('')}</dl>`;
}

function askedPart({ verdict: { request }, file, sha256 }: ReportParts): string {
  const asked: [string, string][] =
    request === null
      ? []
      : [
          ['Asked for', shown(askedText(request.asked))],
          ['By', shown(request.by)],
          ['At', shown(request.at)],
        ];
  return `<h2>What was asked</h2>${facts([
    ...asked,
    ['Bundle', shown(file)],
    ['SHA-256 of the bundle', `<code>${shown(sha256)}</code>`],
  ])}`;
}

function summaryPart({ verdict, events }: ReportParts): string {
  const times = events.map(({ at }) => at).sort();
  const span =
    times.length === 0 ? [] : [['Time', `${shown(times[0])} to ${shown(times.at(-1))} (UTC)`] as const];
  const counts = [
    countTable('Who', events, ({ actor }) => actor.id),
    countTable('What', events, ({ action }) => action),
    countTable('Outcome', events, ({ outcome }) => outcome),
  ];
  const rows = [
    ['Events', shown(verdict.events)] as const,
    ...span,
    ['Files', shown(verdict.artifacts.length)] as const,
  ];
  return `<h2>Summary</h2>${facts(rows)}<div class="counts">${counts.join('')}</div>`;
}

/** More are counted together: a report is read by people. */
const countsShown = 25;

function countTable(
  title: string,
  events: readonly EvidenceEvent[],
  of: (event: EvidenceEvent) => string,
): string {
  const counts = [...Map.groupBy(events, of)].map(([name, found]) => [name, found.length] as const);
  const sorted = counts.sort((a, b) => b[1] - a[1]);
  const rest = sorted.slice(countsShown).reduce((sum, [, count]) => sum + count, 0);
  const rows = [...sorted.slice(0, countsShown), ...(rest === 0 ? [] : [['others', rest] as const])];
  const body = rows.map(
    ([name, count]) => `<tr><td>${shown(name)}</td><td class="narrow">${count}</td></tr>`,
  );
  return `<table><thead><tr><th>${title}</th><th class="narrow">Events</th></tr></thead><tbody>${body.join('')}</tbody></table>`;
}

const columns = ['Time (UTC)', 'Event', 'Who', 'What', 'Outcome', 'On', 'By which rule', 'From'];

function timelinePart({ verdict, events }: ReportParts): string {
  const head = columns.map((title) => `<th>${title}</th>`).join('');
  const more = verdict.events - events.length;
  const note =
    more > 0
      ? `<p>The bundle holds ${more} more events, which are proved like these and are not shown here.</p>`
      : '';
  const ordered = events.toSorted((a, b) => (a.at < b.at ? -1 : a.at > b.at ? 1 : 0));
  const rows = ordered.map(rowsOf).join('\n');
  return `<h2>What happened</h2>${note}<table><thead><tr>${head}</tr></thead>${rows}</table>`;
}

function rowsOf(event: EvidenceEvent): string {
  const { at, stream, seq, actor, action, phase, outcome, resource, decision, request, data } = event;
  const who = [actor.id, ...(actor.onBehalfOf === undefined ? [] : [`for ${actor.onBehalfOf}`])].join(' ');
  const on = [resource.kind, resource.id, resource.session].filter((part) => part !== undefined).join(' ');
  const cells = [who, `${action} (${phase})`].map((text) => `<td>${shown(text)}</td>`).join('');
  const hasData = data !== undefined && Object.keys(data).length > 0;
  const line =
    `<tr${hasData ? ' class="has-data"' : ''}><td class="narrow">${shown(at)}</td>` +
    `<td class="narrow">${shown(`${stream} ${seq}`)}</td>${cells}` +
    `<td class="${outcome === 'denied' || outcome === 'failed' ? outcome : 'narrow'}">${shown(outcome)}</td>` +
    `<td>${shown(on)}</td><td>${shown(decision.rule)}</td><td class="narrow">${shown(request?.address ?? '')}</td></tr>`;
  const detail = hasData
    ? `<tr class="data"><td></td><td colspan="${columns.length - 1}"><code>${shown(canonicalJson(data))}</code></td></tr>`
    : '';
  return `<tbody>${line}${detail}</tbody>`;
}

function artifactsPart({ artifacts }: EvidenceVerdict): string {
  if (artifacts.length === 0) return '';
  const rows = artifacts.map(
    ({ run, name, mediaType, bytes, sha256 }) =>
      `<tr><td>${shown(run)}</td><td>${shown(name)}</td><td>${shown(mediaType)}</td><td>${shown(bytes)}</td><td><code>${shown(sha256)}</code></td></tr>`,
  );
  return (
    '<h2>Files that the runs left</h2><p>Not part of the bundle: these are their hashes when it was made, so that a copy of one can be told from another.</p>' +
    `<table><thead><tr><th>Run</th><th>Name</th><th>Type</th><th>Bytes</th><th>SHA-256</th></tr></thead><tbody>${rows.join('')}</tbody></table>`
  );
}

function proofPart(parts: ReportParts): string {
  const { verdict, file } = parts;
  const key = verdict.streams[0]?.keys[0] ?? 'KEY';
  return [
    '<h2>What is proved, and what is not</h2>',
    '<p>The log is one list of events for each program that writes one, a stream. Each event carries the hash of the one before, and from time to time the program signs a checkpoint: so many events, and the root of a hash tree over them. An event that was changed, removed, added or moved after its checkpoint was signed leads to another root.</p>',
    ...verdict.streams.map(streamPart),
    '<p>Being in the log proves that the program wrote the event before the checkpoint was signed, not that what it says happened elsewhere is true. Times are those of the clock of that computer. Where “others may lie in between” stands, events that were not asked for, or not given, are left out. Whoever holds the signing key and every copy of the log could write another log: copies of checkpoints that others keep are what shows that.</p>',
    '<h2>How to check this yourself</h2>',
    '<p>No server is needed for it. Get the key of the log from its operator, by another way than this bundle, and check that it is the one above. Then, with the bundle:</p>',
    `<pre>${shown(`sealwright audit verify ${file} --key '${key}'`)}\n${shown(`sealwright audit report ${file} --key '${key}' -o report.html`)}\n${shown(`sha256sum ${file}`)}</pre>`,
    '<p>The first command ends with 0 where all is as this page says. The format is described in docs/reference/audit-format.md of Sealwright, for anybody who would rather write a verifier.</p>',
  ].join('\n');
}

function streamPart({
  stream,
  origin,
  keys,
  checkpoint,
  events,
  first,
  last,
  isWhole,
  dropped,
}: EvidenceStream): string {
  const extent = events === 0 ? 'none' : `${events}, from ${first} to ${last}`;
  const whole = isWhole ? 'yes, the sequence has no gap' : 'no: others may lie in between';
  return `<h3>${shown(`Stream ${stream}`)}</h3>${facts([
    ['Log', `<code>${shown(origin)}</code>`],
    ['Events on this page', shown(extent)],
    ...(events < 2 ? [] : [['All between the first and the last', shown(whole)] as const]),
    ['Signed by', keys.map((key) => `<code>${shown(key)}</code>`).join('<br>then by ')],
    ['Checkpoint', `${shown(checkpoint.size)} events, root <code>${shown(checkpoint.root)}</code>`],
    ...(dropped === undefined
      ? []
      : [['Dropped before', shown(`events 1 to ${dropped}, as a signed note says`)] as const]),
  ])}<pre>${checkpoint.note.split('\n').map(shown).join('\n')}</pre>`;
}
