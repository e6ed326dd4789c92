/** The style of a report: readable on paper and without colours, and nothing of it comes from elsewhere. */
export const evidenceStyle = `
:root { color-scheme: light; font: 15px/1.5 system-ui, "Segoe UI", Helvetica, Arial, sans-serif; color: #1b1f24; background: #fff }
body { max-width: 75rem; margin: 0 auto; padding: 2rem 1.5rem 4rem }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 1rem }
h2 { font-size: 1.15rem; margin: 2.5rem 0 .75rem; padding-top: .75rem; border-top: 1px solid #d0d7de }
h3 { font-size: 1rem; margin: 1.5rem 0 .5rem }
p, ul { margin: 0 0 .75rem; max-width: 48rem }
.verdict { padding: .75rem 1rem; border-left: .4rem solid #1a7f37; background: #eefbf1; max-width: none; font-weight: 600 }
.verdict.bad { border-color: #cf222e; background: #ffebe9; color: #82071e }
.verdict.weak { border-color: #9a6700; background: #fff8e5 }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .25rem 1.5rem; margin: 0 0 1rem }
dt { color: #57606a }
dd { margin: 0; overflow-wrap: anywhere }
table { border-collapse: collapse; width: 100%; font-size: .85rem; margin-bottom: 1rem }
th, td { text-align: left; vertical-align: top; padding: .35rem .6rem .35rem 0; border-bottom: 1px solid #e4e8ec; overflow-wrap: anywhere }
th { color: #57606a; font-weight: 600; white-space: nowrap }
th.narrow, td.narrow { white-space: nowrap }
tbody { break-inside: avoid }
tr.data td { border-bottom: 1px solid #e4e8ec; color: #57606a; padding-top: 0; font-size: .78rem }
tr.has-data td { border-bottom: 0 }
.denied, .failed { color: #a40e26; font-weight: 600 }
.counts { display: flex; flex-wrap: wrap; align-items: flex-start; gap: 0 3rem }
.counts table { width: auto; min-width: 14rem }
code, pre { font: .9em/1.45 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace }
pre { background: #f6f8fa; padding: .75rem 1rem; white-space: pre-wrap; overflow-wrap: anywhere; margin: 0 0 1rem }
@media print { :root { font-size: 10pt } body { max-width: none; padding: 0 } thead { display: table-header-group } h2, h3 { break-after: avoid } .verdict, pre { -webkit-print-color-adjust: exact; print-color-adjust: exact } }
`;
