"""The words of the invented reports: what `jobs/reports.py` fills with figures.

A section is text: a line `- ` starts a wording, a blank line ends a point. A report takes one
wording of each point it makes, among those whose {slots} it has a figure for; `when_...` slots are
empty and only say for which reports a wording is true. [this|that] is a choice of words.
"""

STEMS = """
northwind larkfield brindlewood tamarack corvane skerrymoor quillon veridane plumbline aurelis
cindral wexmoor calderbrook pinemont ashgrove fenmark saltmarsh dunmere kestrelway millrace
orrisdale hollinfield marrowstone penhallow stonewether eastmere goldenrod hartsease lindenhall
merriday oakhaven redfern silverlock tidewell umberland whitlow yarrowdale zephyrine bramblecote
cloverlea dovestone
"""
FIRST = "Anneke Bruno Carys Dmitri Elif Farid Greta Hiro Ines Jonas Keira Luca Maren Nadia Oskar"
FIRST += " Priya Quentin Rosa Soren Tamsin Uma Viktor Wanda Yusuf Zadie"
LAST = "Abernathy Bakshi Castellan Drummond Ekholm Ferreira Granholm Hathaway Iyer Jankowski Kwan"
LAST += " Lindqvist Marchetti Nakagawa Okafor Pettersen Quigley Rasmussen Sandoval Thackeray"
LAST += " Underhill Vasquez Wainwright Yilmaz Zielinski"

TITLES = """
- {company} reports results for {period_name}

- {company}: {revenue_word} {revenue_versus} a year earlier

- {when_up}{company} [grows|advances] on {cause}

- {when_down}{company} feels {cause}

- {company} [publishes|presents] its report on {period_name}
"""

LEAD = """
- {company} today reported {revenue_word} of {revenue} for {period_name}, {revenue_versus}
  {revenue_prior} in {year_ago}.
- For {period_name}, {company} posted {revenue_word} of {revenue}, {revenue_versus}
  {revenue_prior} a year earlier, and {net}.
- {company} [closed|finished] {period_name} with {revenue_word} of {revenue}, {revenue_versus}
  {revenue_prior} in {year_ago}, and {operating}.
- {when_up}{company} [grew again|made further progress] in {period_name}: {revenue_word} reached
  {revenue}, {revenue_versus} {revenue_prior} in {year_ago}.
- {when_down}{company} [had a difficult {span}|lost ground] in {period_name}, as {revenue_word}
  came to {revenue}, {revenue_versus} {revenue_prior} in {year_ago}.
- {revenue_word} at {company} {revenue_moved} to {revenue} in {period_name}, and the company
  recorded {net}, compared with {net_prior} in {year_ago}.

- {when_up}The main driver was {cause}, although {counter} [took back part of the gain|weighed on
  the result].
- {when_up}[Most|By far the largest part] of the growth came from {cause}, which more than made up
  for {counter}.
- {when_up}The increase of {revenue_delta} [is owed chiefly to|was led by] {cause}; {counter} held
  it back.
- {when_down}The decline was caused above all by {cause}; {counter} offset only part of it.
- {when_down}{cause} [accounted for most|explains the larger part] of the shortfall of
  {revenue_delta}, while {counter} [softened the blow|helped].
- {when_down}[Management attributes the decrease|The company traces the decrease] mainly to {cause},
  [mitigated|cushioned] by {counter}.

- On a diluted basis the company recorded {eps}, [against|compared with] {eps_prior} in {year_ago},
  as the operating margin {op_margin_moved}.
- The operating margin {op_margin_moved}, and the {span} closed with {eps}, [against|compared with]
  {eps_prior} a year earlier.
- [The bottom line was|Shareholders saw] {eps} on a diluted basis, after {eps_prior} in
  {year_ago}; the operating margin {op_margin_moved}.

- {when_raised}{short} raises its outlook and now expects {revenue_word} of {guide_low} to
  {guide_high} for {guide_year}, up from {old_low} to {old_high}.
- {when_raised}[After this {span}|On this showing], guidance for {guide_year} moves up: {short} now
  looks for {revenue_word} of {guide_low} to {guide_high}, instead of {old_low} to {old_high}.
- {when_lowered}{short} lowers its outlook and now expects {revenue_word} of {guide_low} to
  {guide_high} for {guide_year}, down from {old_low} to {old_high}.
- {when_lowered}The company cut its guidance for {guide_year} to {revenue_word} of {guide_low} to
  {guide_high}; it had [forecast|guided to] {old_low} to {old_high}.
- {when_kept}{short} [confirms|reaffirms] its guidance for {guide_year}: {revenue_word} of
  {guide_low} to {guide_high}.
- {when_kept}The outlook for {guide_year} [stands|is unchanged], with {revenue_word} expected
  between {guide_low} and {guide_high}.
- {when_new}For {guide_year}, {short} [gives a first outlook|issues initial guidance] of
  {revenue_word} between {guide_low} and {guide_high}.
- {when_new}Looking to {guide_year}, the company [expects|plans for] {revenue_word} of {guide_low}
  to {guide_high}.

- {when_up}"[Our teams did what they said they would|This {span} shows the plan is working], and I
  am most encouraged by {cause}," said {ceo}, chief executive officer.
- {when_up}"We are not [declaring victory|done]: {counter} will stay with us for some time, and we
  have to earn our growth against it," said {ceo}, chief executive officer.
- {when_down}"This was not the {span} we [wanted|had planned], and we are acting on what we
  control," said {ceo}, chief executive officer.
- {when_down}"We could not [escape|outrun] {cause}, but our customers are still with us and our
  costs are coming down," said {ceo}, chief executive officer.
"""

RESULTS = """
- {revenue_word} for {period_name} {revenue_moved}, or {revenue_delta}, to {revenue}.
- Reported {revenue_word} of {revenue} {when_up}exceeded the {revenue_prior} of {year_ago} by
  {revenue_delta}.
- Reported {revenue_word} of {revenue} {when_down}fell {revenue_delta} short of the {revenue_prior}
  of {year_ago}.

- Volume {volume_moved} to {volume}, and the average {price_word} {price_moved} to {price}.
- Volume came to {volume} against {volume_prior} a year earlier; the average {price_word} was
  {price} after {price_prior}.
- [Behind this stand|The figures reflect] {volume}, {volume_versus} a year earlier, and an average
  {price_word} of {price}, {price_versus} {price_prior}.

- {gross_word} was {gross}, or {gross_margin} of {revenue_word}, after {gross_margin_prior} in
  {year_ago}.
- At {gross}, {gross_word} equaled {gross_margin} of {revenue_word}; the ratio
  {gross_margin_moved}.
- {cost_word} of {cost} left {gross_word} of {gross}, and the ratio to {revenue_word}
  {gross_margin_moved}.

- The change in the ratio of {gross_word} to {revenue_word} [was mostly the effect of|owed most to]
  {margin_cause}.
- The move in {gross_word} [is explained by|reflects] {margin_cause}, [as in the period before|as
  management had indicated in its last report].

- {opex_word} {opex_moved} to {opex} and took {opex_share} of {revenue_word}.
- {opex_word} came to {opex}, compared with {opex_prior} a year earlier, [or|which is] {opex_share}
  of {revenue_word}.

- {when_up}Among operating costs, [pay rises|wage agreements] and a higher accrual for incentive pay
  were the largest items, while spending on consultants [fell|was cut back].
- {when_down}Among operating costs, [a hiring pause|fewer open positions] and a lower accrual for
  incentive pay saved money, while insurance and software licenses cost more.

- The company recorded {operating}, compared with {operating_prior} in {year_ago}.
- After all operating costs there was {operating}, against {operating_prior} a year earlier, so the
  operating margin {op_margin_moved}.

- Unallocated corporate costs of {corporate} are not charged to the segments and are included in
  the group's operating result.
- The operating result includes {corporate} of corporate costs that no segment bears.

- Interest [cost|expense] of {interest} and a tax charge of {tax}, at an effective rate of
  {tax_rate}, brought the company to {net}.
- Below the operating line, interest took {interest} and taxes {tax}; the effective tax rate was
  {tax_rate}.
- {when_bank}{tax} of income taxes, at an effective rate of {tax_rate}, [brought the bank to|left]
  {net}.
- {when_loss}Interest expense was {interest}; no tax benefit was booked for the loss, because its
  use within the planning horizon is not certain.

- The {span} ended with {net}, compared with {net_prior} in {year_ago}.
- Shareholders are left with {net}, after {net_prior} a year earlier.

- The result per diluted share, {eps}, is based on {shares} million weighted average shares.
- With {shares} million diluted shares outstanding on average, the result translates into {eps}.

- {when_quarter}Since the start of the fiscal year, {revenue_word} came to {ytd}.
- {when_fourth}With this quarter, {revenue_word} for the full fiscal year came to {ytd}, against
  {year_before} in the year before.

- Changes in exchange rates [moved|altered] {revenue_word} by less than one percentage point, and
  no business was bought or sold in the period.
- There were no acquisitions or disposals of note in the period, so reported and organic figures
  differ only by small currency effects.

- The company does not adjust these figures for [restructuring or litigation|one-off items]; they
  are stated under U.S. GAAP throughout.
- No non-GAAP earnings measure is used in this section.
"""

SEGMENTS = """
- {segment} [contributed|brought in] {seg_revenue} of {revenue_word}, {seg_versus} {seg_prior} a
  year earlier.
- {revenue_word} in {segment} {seg_moved} to {seg_revenue}, which is {seg_share} of the group.
- In {segment}, {revenue_word} came to {seg_revenue} [after|against] {seg_prior} in {year_ago}.

- {segment} [closed with|recorded] {seg_result}, a segment margin of {seg_margin} after
  {seg_margin_prior} in {year_ago}.
- The segment result of {segment} was {seg_result}, and its margin {seg_margin_moved}.

- {when_seg_up}[Management credits|The segment credits] {seg_cause} for the growth in {segment}.
- {when_seg_up}What lifted {segment} was {seg_cause}.
- {when_seg_down}{segment} [was hurt|suffered most] by {seg_cause}.
- {when_seg_down}The setback in {segment} [goes back to|follows from] {seg_cause}.

- {segment} accounted for {seg_share} of {revenue_word}, [compared with|against]
  {seg_share_prior} in {year_ago}.
- The share of {segment} in the group's {revenue_word} [now stands at|was] {seg_share}, after
  {seg_share_prior}.

- {segment} invested {seg_capex} in the {span}, [chiefly|for the most part] to [replace aging
  equipment|renew its systems|add capacity where it was short].
- Spending on assets and systems in {segment} amounted to {seg_capex}.

- At period end, {segment} employed {seg_staff} people, [after a round of seasonal hiring|after
  unfilled positions were closed|which is close to plan|spread over its sites].
- {segment} [ran|operated from] {seg_sites} sites with {seg_staff} employees at the end of the
  {span}.

- {when_seg_up}For the coming {span}, {segment} expects [the pace to ease|growth to continue at a
  lower rate], since comparisons become more demanding.
- {when_seg_down}{segment} expects [no quick turn|a slow recovery] and has adjusted its staffing
  and purchase commitments to that view.
- The order of the day in {segment} is to [hold prices|defend its margin|shorten lead times], even
  at the cost of some volume.
"""

CASH = """
- Cash flow from operations was {ocf}, compared with {ocf_prior} in {year_ago}.
- Operating activities [generated|brought in] {ocf} of cash, after {ocf_prior} a year earlier.

- {when_wc_out}Working capital absorbed {working_capital}, [largely|mostly] because [receivables
  rose toward period end|inventories were built ahead of the season|suppliers were paid earlier].
- {when_wc_in}Working capital released {working_capital}, helped by [faster collection|lower
  inventories|a better match of receipts and payments].

- Depreciation and amortization of {depreciation} and share-based compensation of {stock_pay} did
  not consume cash.
- Among the non-cash charges were {depreciation} of depreciation and amortization and {stock_pay}
  of share-based compensation.

- Capital expenditure [amounted to|took] {capex}, or {capex_share} of {revenue_word}.
- The company spent {capex} on property, equipment and software, {capex_share} of {revenue_word}.

- After capital expenditure there remained {fcf}, compared with {fcf_prior} in {year_ago}.
- Cash from operations less capital expenditure made {fcf}, after {fcf_prior} a year earlier.

- Dividends of {dividends} were paid, or {dps} per share.
- {short} paid {dividends} to shareholders as a dividend of {dps} per share.
- {when_no_dividend}The company pays no dividend and [does not plan to|keeps its cash for
  development].

- {shares_bought} million shares were bought back for {buyback}, at an average price of {buy_price}.
- {short} repurchased {shares_bought} million of its shares for {buyback} under the program in
  force.

- {when_borrowed}Net new borrowing brought in {debt_change}.
- {when_repaid}Debt of {debt_change} was repaid, net of new drawings.

- In total, cash moved from {cash_start} at the start of the {span} to {cash} at its end.
- Over the {span}, cash and equivalents went from {cash_start} to {cash}.

- Deposits rose to {deposits} and loans stood at {loans}, a ratio of loans to deposits of
  {loan_ratio}.

- [Liquid assets|The stock of liquid assets] covered the expected net outflows of thirty days by
  {coverage}, above the required 100 percent.
- {when_corporate}Payments to suppliers were made {payable_days} days after invoice on average,
  [unchanged in substance|a day or two earlier than a year ago].
"""

BALANCE = """
- Cash and equivalents [stood at|were] {cash} on {end_date}, and gross debt was {debt}.
- On {end_date} the company held {cash} in cash against {debt} of debt.
- {bank_assets} of average earning assets were [financed|funded] mainly by customer deposits of
  {deposits}.

- The balance sheet carries {net_debt}, equal to {leverage} times annual EBITDA, which is {ebitda}
  at the pace of the {span}.
- {net_debt} [corresponds to|amounts to] {leverage} times EBITDA; lenders allow up to {covenant}
  times.

- The balance sheet [shows|closes with] {net_debt} at the end of the {span}.
- {when_bank}The common equity tier 1 ratio was {k1}, {k1_from} a year earlier.

- Shareholders' equity was {equity}, or {book_value} per diluted share.
- Equity [came to|stood at] {equity} at the end of the {span}.

- A revolving credit facility of {facility} is undrawn and [runs|committed] until {maturity}.
- {short} can draw on an unused facility of {facility} that matures in {maturity}.

- [About|Roughly] {fixed_share} of the debt carries a fixed rate, so that one percentage point on
  short rates would cost {rate_cost} a year.
- {when_corporate}No bond falls due before {maturity}, and the average remaining term is {term}
  years.

- Receivables were outstanding for {receivable_days} days on average, and the allowance for
  doubtful accounts [is|was left] at {allowance} of the balance.
- The age of receivables is [normal|as usual]: {receivable_days} days of {revenue_word} were
  outstanding at period end.

- The annual test of goodwill [found|led to] no impairment; the smallest headroom was {headroom} of
  carrying value.
- Goodwill was reviewed and [left unchanged|not written down], with headroom of at least {headroom}.

- Commitments from leases amount to {leases}, of which [about one fifth|less than a quarter] falls
  due within twelve months.
- Lease liabilities [stood at|came to] {leases} and are not counted as debt in the figures above.

- Pension obligations are funded to {pension}, [a little better than|about as well as] a year ago.
- The pension plans were funded to {pension} on {end_date}.
"""

OUTLOOK = """
- For {guide_year}, the company expects {revenue_word} between {guide_low} and {guide_high},
  against {base_year} in the year before.
- The guided range for {guide_year}, {guide_low} to {guide_high}, corresponds to a change in
  {revenue_word} of {guide_growth_low} to {guide_growth_high}.

- {short} expects {guide_eps} for {guide_year}.
- Per diluted share, the guidance [corresponds to|implies] {guide_eps}.

- The guidance assumes an operating margin of about {guide_margin} and an effective tax rate near
  {guide_tax}.
- [Built into|Behind] these figures are an operating margin of some {guide_margin}, a tax rate of
  {guide_tax} and stable exchange rates.

- Capital expenditure for the year is [planned|budgeted] at {guide_capex}.
- The company intends to invest {guide_capex} in {guide_year}.

- {when_raised}The new range reflects [what is already in hand|the result to date] and does not
  assume relief from {counter}.
- {when_raised}"We raised the range because of what we have booked, not because of what we hope,"
  said {cfo}, chief financial officer.
- {when_lowered}The lower range assumes no relief from {cause} through the rest of the fiscal
  year.
- {when_lowered}"We would rather reset expectations once than [chip away at them|come back a second
  time]," said {cfo}, chief financial officer.
- {when_kept}The range was kept because risks and chances [balance each other|are even at this
  point], in the view of management.
- {when_new}The range is wider than in past years because {risk_word} [is hard to call|cannot be
  forecast with confidence].

- For {next_period} alone, {short} expects {revenue_word} of [about|around] {next_revenue}.
- {next_period} should bring {revenue_word} in the neighborhood of {next_revenue}.

- The low end of the range would follow from {downside}; the high end needs {upside}.
- Management names {downside} as the largest risk to the plan and {upside} as the largest chance.

- Savings of {savings} a year are to come from [a review of purchasing|simpler structures|shared
  services], {savings_done} of which had been reached by {end_date}.
- The cost program has delivered {savings_done} of the intended {savings} a year.

- Over the medium term, {short} [aims at|holds to] annual growth of {target_growth} and an
  operating margin of {target_margin}.
- The medium-term targets, growth of {target_growth} a year and an operating margin of
  {target_margin}, are unchanged.
"""

RISKS = """
- The result is exposed to {downside}, which could take [up to|as much as] {risk_cost} from annual
  operating income.
- Should {downside} become more pronounced, management estimates an effect on annual operating
  income of [up to|around] {risk_cost}.

- The ten largest customers account for {top_ten} of {revenue_word}, and [none|no single one] for
  more than {top_one}.
- Concentration is [moderate|limited]: the largest customer stands for {top_one} of
  {revenue_word}.

- A stronger dollar would lower reported {revenue_word}; ten percent against all currencies equals
  about {currency_cost} a year.
- About {hedged} of the expected currency exposure of the next twelve months is hedged.

- Wage costs are [rising|moving] faster than prices in several locations, and collective agreements
  for {labor_share} of the workforce expire within a year.
- Agreements covering {labor_share} of the workforce are up for negotiation; a strike would
  [interrupt|affect] operations.

- The company was the target of phishing [attempts|campaigns] during the {span}; [none|to its
  knowledge none] led to a loss of data.
- Attacks on suppliers' systems remain [a concern|the likeliest route of a cyber incident], and
  recovery was tested in the {span}.

- In a dispute with a former [contractor|distributor|landlord], the claim of {claim} is contested;
  {provision} has been set aside.
- A provision of {provision} covers the expected cost of pending litigation, in which up to {claim}
  is at stake.

- New reporting rules on climate and supply chains will [add to|raise] administrative costs, by an
  estimated {rule_cost} a year.
- Tax authorities are auditing {audit_years}; the company considers its positions [sound|well
  supported].
"""

GOVERNANCE = """
- The board declared a [quarterly|regular] dividend of {dps} per share, payable [in six weeks|to
  holders of record at month end].
- {when_no_dividend}The board reviewed the distribution policy and decided to retain earnings.

- {director} [joined|was appointed to] the board and its audit committee, replacing {leaver}, who
  retired after {years_served} years.
- The board proposes {director} for election at the annual meeting; {leaver} will not stand again.

- {cfo}, chief financial officer, certified that internal control over financial reporting was
  effective on {end_date}.
- The audit committee met {meetings} times and [found|reported] no material weakness in internal
  control.

- Executive bonuses depend on [operating income and cash flow|growth, margin and safety] in equal
  parts; at this point {bonus} of the target would be paid.
- The compensation committee left the bonus formula unchanged, and {bonus} of target is accrued.

- The share repurchase program has {buy_left} left and [expires|ends] in {maturity}.
- The board extended the repurchase program, under which {buy_left} remains available.

- {independent} of the {board_size} directors are independent, and the chair, {chair}, does not
  hold an executive post.
- The board has {board_size} members under the chair of {chair}; {independent} of them are
  independent.

- The external auditor was rotated [by tender|after a public tender] and reviewed these statements
  without qualification.
- These interim figures have been reviewed, but not audited, by the external auditor.
"""

REGIONS = """
- {region} accounted for {reg_share} of {revenue_word}, or {reg_revenue}.
- {revenue_word} from {region} [stood at|came to] {reg_revenue}, {reg_share} of the total.

- [In local currency|At constant rates], the change in {region} was within [one|two] points of the
  reported {reg_change}.
- Against {year_ago}, {region} shows a change of {reg_change}.

- {region} [benefited from|was helped by] {reg_help}.
- In {region}, {reg_hurt} [held back|slowed] business.

- {short} [opened an office|added a sales team|changed its distributor] in {region}, where it sees
  [more room to grow|room for better prices].
- Managers for {region} expect {reg_help} to [matter more|carry on] in the coming {span}.
"""

CALL = """
- Asked about {downside} on the call with analysts, {cfo} said that the plan already allows for
  [some of it|a moderate form of it], but not for a sudden worsening.
- [On the call|In answer to an analyst], {ceo} described {downside} as the point that management
  reviews every week.

- An analyst wanted to know how durable {upside} is; {ceo} answered that [orders in hand cover
  the next months|two periods do not make a trend|customers say they mean to stay].
- To a question on {upside}, {ceo} replied that the effect is real, but that nobody should
  extrapolate it.

- {cfo} explained that {opex_word} would [grow more slowly than {revenue_word}|stay near
  {opex_share} of {revenue_word}] for the rest of the fiscal year.
- Pressed on costs, {cfo} pointed to {opex_share} of {revenue_word} as the level to expect.

- On pricing, {ceo} said that [increases have been accepted|further increases are planned], and that
  the average {price_word} of {price} leaves the company [competitive|below its closest rival].
- {ceo} does not expect the average {price_word}, now {price}, to move much in the coming {span}.

- Acquisitions are [possible|not ruled out], {cfo} said, [if they pay back within five years|but the
  prices asked are too high]; no talks are under way.
- [No large acquisition is planned|The company looks at small acquisitions only], according to
  {ceo}, because {claim} a year is better spent on its own sites and systems.

- Several questions concerned {segment_in_focus}; {ceo} called its result [respectable|a picture of
  its market] and its team [one of the strongest|complete again].
- {ceo} said that {segment_in_focus} is a core business and [not for sale|will stay in the group].

- Use of artificial intelligence is so far [limited to|concentrated on] [planning and customer
  service|software development and forecasts], and saves an estimated {rule_cost} a year.
- On automation, {cfo} [mentioned|cited] projects that take {claim} and pay back in three years.
"""

NOTES = """
- Sales are recognized when control passes to the customer, [as in earlier
  periods|without change of method].
- The accounting policies are those of the last annual report.

- Intangible assets are amortized over {term} years on average, and software built in house was
  capitalized to the amount of {rule_cost}.
- Development costs of {rule_cost} were capitalized in the {span}.

- Deferred tax assets of {claim} are expected to be used [within five years|before they expire].
- Of the deferred tax assets, {claim} relates to losses carried forward.

- Unvested share awards would add less than [one|two] percent to the number of shares, which was
  {shares} million.
- Share awards vest over three years and depend on [relative returns|operating goals].

- Related parties supplied goods and services worth {provision}, [at market terms|on the usual
  terms].
- No transactions with related parties went beyond [salaries and dividends|ordinary business].

- No event after {end_date} [calls for disclosure|would alter these statements].
- After {end_date}, a claim of {claim} was [settled|withdrawn]; it had been provided for.

- Insurance covers interruption of business up to {claim} for each event, with a deductible of
  {provision}.
- Prior-year figures have been [kept as reported|regrouped in minor respects], without effect on the
  result.
"""

PEOPLE = """
- {short} employed {staff} people on {end_date}, compared with {staff_prior} a year earlier.
- Headcount went from {staff_prior} to {staff} within twelve months.

- Voluntary turnover was {turnover} at an annual rate, {turnover_from} a year earlier.
- {turnover} of employees left of their own accord, on an annual basis, {turnover_from} in
  {year_ago}.

- The rate of recordable injuries was {injuries} per 200,000 hours worked, {injuries_from} a year
  before.
- Recordable injuries came to {injuries} per 200,000 hours, [the figure that plant managers are
  measured on|and every case was reviewed by a member of management].

- Emissions from own operations and purchased electricity were {emissions} thousand tonnes of
  carbon dioxide, {emissions_from} in {year_ago}.
- {renewables} of the electricity used came from renewable sources.

- In the employee survey, {survey} would recommend {short} as a place to work, and [pay|workload|
  career paths] drew the most criticism.
- {short} trained {trained} employees in [data protection|safety|new tools] during the {span}.
"""
