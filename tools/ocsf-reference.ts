import { namedOcsfActions, ocsfClasses, ocsfKindOf, ocsfVersion } from '../src/audit/sinks/ocsf-classes.ts';
import { actions } from '../src/model/actions.ts';

export const ocsfFile = new URL('../docs/reference/ocsf.md', import.meta.url);

/** The page that says what each action is in OCSF, from the table that sinks use. */
export function ocsfReference(): string {
  const all = [...new Set([...Object.keys(actions), ...namedOcsfActions])].sort();
  return [
    '# OCSF',
    '',
    `Made by \`node tools/reference.ts\`. What a [sink](audit-sinks.md) with \`format: ocsf\` sends: objects of the Open`,
    `Cybersecurity Schema Framework ${ocsfVersion}.`,
    '',
    '| attribute | what it is |',
    '|---|---|',
    '| `metadata.uid`, `.sequence`, `.log_name` | the id of the event, its number and its stream |',
    '| `metadata.correlation_uid` | the attempt whose outcome this is |',
    '| `time` | when it was recorded, in milliseconds |',
    '| `severity_id` | 1; 3 for what was denied or failed; 4 for a gap or loss of the log, a lockout, a stolen sign-in |',
    '| `status_id` | 1 success, 2 failure, 0 for an attempt whose outcome is not known yet |',
    '| `status_detail` | the rule that decided |',
    '| `actor` | who acted; `actor.session.uid` names the credential, `actor.invoked_by` whom it acts for |',
    '| `src_endpoint` | the address of the caller; `sealwright` where there is none |',
    '| `unmapped.event` | the event as the log has it |',
    '',
    'A denied connection is `Refuse`. What is not listed is Entity Management or API Activity, by its last word.',
    '',
    '| action | class | activity |',
    '|---|---|---|',
    ...all.map(row),
    '',
  ].join('\n');
}

function row(action: string): string {
  const { class: name, activity } = ocsfKindOf(action);
  const { uid, name: caption, activities } = ocsfClasses[name];
  const said = (activities as Readonly<Record<number, string>>)[activity];
  return `| \`${action}\` | ${uid} ${caption} | ${activity} ${said} |`;
}
