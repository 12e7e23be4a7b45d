"""The industries of the invented reports: their ranges of figures and their words."""

import re
from dataclasses import dataclass
from textwrap import dedent

Range = tuple[float, float]


@dataclass(frozen=True)
class Industry:
    """What the companies of one industry have in common.

    Money is in millions of dollars a year, `gross`, `operating` and `capex` are shares of revenue.
    `price` is the revenue for `per_million` units of volume; `k1` and `k2` are further figures:
    low, high, the largest change in a year and the form they are written in. In `words` a line
    `segment:` gives a name, what lifts it and what hurts it; the other kinds are `up`, `down`,
    `margin_up`, `margin_down` (causes), `point` and `risk` (sentences with {slots}).
    """

    suffixes: tuple[str, ...]
    revenue: str
    cost: str
    gross_name: str
    opex: str
    scale: Range
    gross: Range
    operating: Range
    capex: Range
    price_word: str
    price: Range
    price_form: str
    volume_form: str
    per_million: float
    k1: tuple[float, float, float, str]
    k2: tuple[float, float, float, str]
    words: str
    kind: str = "corporate"

    def lines(self, kind: str) -> list[str]:
        """Return the entries of one kind, on one line each."""
        entries = re.split(r"\n(?! )", dedent(self.words).strip())
        return [" ".join(e.split()[1:]) for e in entries if e.startswith(f"{kind}:")]


RETAIL = Industry(
    suffixes=("Stores", "Outfitters", "Home & Garden"),
    revenue="net sales",
    cost="cost of goods sold",
    gross_name="gross profit",
    opex="store and administrative expenses",
    scale=(900, 9000),
    gross=(0.29, 0.41),
    operating=(0.035, 0.11),
    capex=(0.018, 0.045),
    price_word="basket",
    price=(34, 71),
    price_form="${:,.2f}",
    volume_form="{:,.1f} million transactions",
    per_million=1.0,
    k1=(34, 61, 2.5, "{:.1f}%"),
    k2=(180, 900, 24, "{:,.0f}"),
    words="""
    segment: Home and Garden / a mild season for outdoor projects / late arrivals of seasonal goods
    segment: Apparel / fresher ranges and fewer markdowns / unseasonable weather and heavy discounts
    segment: Online / faster delivery and a simpler checkout / higher return rates
    segment: Grocery Corner / more frequent visits by loyalty members / falling shelf prices
    segment: Trade Customers / larger orders from small contractors / postponed renovation work
    up: higher store traffic in the home and garden aisles
    up: the loyalty program relaunched in spring
    up: same-day delivery from stores
    up: a wider range of own brands
    down: weak demand for large household goods
    down: an unusually wet season
    down: discounting by online competitors
    down: cautious spending by lower-income households
    margin_up: fewer markdowns and cheaper ocean freight
    margin_up: a larger share of own brands in the basket
    margin_down: deeper promotions to clear seasonal stock
    margin_down: shrinkage and higher freight rates
    point: Members of the loyalty program made {k1} of purchases, {k1_from} in {year_ago}.
    point: The company operated {k2} stores on {end_date}, {k2_from} twelve months before.
    point: Customers spent {price} per visit on average, after {price_prior} a year earlier.
    point: Transactions {volume_moved} to {volume}, [with weekends ahead of weekdays|with the best
      trend in suburban locations].
    point: Inventory per store was [trimmed|kept flat] ahead of the season, and aged stock was
      {small_share} of the total.
    point: Store managers now [plan shifts|order fresh goods] with the help of a forecasting tool
      that is in use at {large_share} of locations.
    risk: Rents on {small_share} of the stores come up for renewal within a year, and landlords are
      asking for increases.
    risk: New tariffs on imported furniture and textiles would raise purchase costs by an estimated
      {rule_cost} a year before any price increase.
    """,
)

SHIPPING = Industry(
    suffixes=("Lines", "Shipping", "Maritime"),
    revenue="revenue",
    cost="voyage and vessel costs",
    gross_name="gross profit",
    opex="shore-side expenses",
    scale=(700, 8200),
    gross=(0.16, 0.34),
    operating=(0.04, 0.21),
    capex=(0.06, 0.16),
    price_word="freight rate",
    price=(1080, 2150),
    price_form="${:,.0f} per TEU",
    volume_form="{:,.0f} thousand TEU",
    per_million=1000.0,
    k1=(56, 81, 9, "{:.1f}%"),
    k2=(38, 132, 6, "{:.0f}"),
    words="""
    segment: Transpacific / early peak-season orders / overcapacity on the route
    segment: Asia-Europe / longer voyages that tied up tonnage / new ships delivered to competitors
    segment: Regional Feeders / transshipment from congested hubs / port strikes
    segment: Reefer Cargo / fruit exports from the southern hemisphere / a poor harvest
    segment: Terminals and Logistics / storage fees and new inland depots / idle cranes
    up: longer voyages around the Cape
    up: early peak-season bookings
    up: contract rates that were renewed above last year's level
    up: strong refrigerated cargo
    down: a slide in spot freight rates
    down: a wave of newly delivered ships
    down: congestion at the main transshipment hubs
    down: low water on inland waterways
    margin_up: slower steaming and lower bunker prices
    margin_up: better use of slots on the return leg
    margin_down: higher bunker prices and charter hire
    margin_down: canal surcharges and emission allowances
    point: Schedule reliability was {k1}, {k1_from} a year earlier.
    point: The fleet counted {k2} vessels, {k2_from} twelve months before, of which [about half|a
      good third] are chartered.
    point: Loaded volume {volume_moved} to {volume}, and the average rate was {price} against
      {price_prior}.
    point: [Bunker consumption|Fuel burned] per transported container fell by {small_share} thanks
      to [hull cleaning|new propellers] and slower sailing.
    point: Two [methanol-ready|dual-fuel] vessels were [delivered|ordered], and {small_share} of
      fuel bought was low in carbon.
    point: Empty containers made up {large_share} of moves on the return leg of the main trades.
    risk: Should transits of the Red Sea return to normal, capacity equal to {small_share} of the
      world fleet would come free and press on rates.
    risk: Emission allowances for calls at European ports cost {rule_cost} in a full year and are
      passed on to customers only in part.
    """,
)

SOFTWARE = Industry(
    suffixes=("Software", "Systems", "Cloud"),
    revenue="revenue",
    cost="cost of revenue",
    gross_name="gross profit",
    opex="research, sales and administrative expenses",
    scale=(160, 3100),
    gross=(0.68, 0.82),
    operating=(0.06, 0.27),
    capex=(0.02, 0.06),
    price_word="revenue per customer",
    price=(6200, 41_000),
    price_form="${:,.0f}",
    volume_form="{:,.0f} customers",
    per_million=1_000_000,
    k1=(102, 119, 5, "{:.1f}%"),
    k2=(77, 95, 3, "{:.1f}%"),
    words="""
    segment: Subscriptions / upgrades to the higher tiers / seat reductions at large customers
    segment: Payments / more invoices settled on the platform / lower transaction counts
    segment: Data Services / new connectors to customers' warehouses / the end of a large project
    segment: Maintenance / price adjustments on old contracts / the planned move to subscriptions
    segment: Professional Services / migrations to the cloud release / projects postponed by clients
    up: upgrades to the enterprise tier
    up: a high rate of renewals in the public sector
    up: demand for the audit and compliance module
    up: the first full contribution of the partner channel
    down: longer approval cycles at large customers
    down: seat reductions at technology companies
    down: the switch from licenses to subscriptions
    down: the loss of a reseller in Southern Europe
    margin_up: lower hosting costs after a move between data centers
    margin_up: a smaller share of services in the mix
    margin_down: the cost of running new assistant features
    margin_down: duplicate hosting during a migration
    point: Net revenue retention was {k1}, {k1_from} in {year_ago}.
    point: Of the contracts that fell due, {k2} were renewed, {k2_from} a year earlier.
    point: The number of paying customers {volume_moved} to {volume}, and each brought in {price} on
      average.
    point: Remaining performance obligations stood at {backlog}, of which {large_share} will be
      recognized within twelve months.
    point: The platform was available [99.96|99.98|99.93] percent of the time, and [one|no] incident
      lasted more than an hour.
    point: Two releases brought [a query assistant|a new permission model|role-based dashboards] to
      customers, and {large_share} of them had switched it on by {end_date}.
    risk: Competitors that bundle similar functions at no charge could raise churn, which was
      {small_share} on an annual basis.
    risk: A change in how customers buy through cloud marketplaces would cost about {rule_cost} a
      year in commissions.
    """,
)

BIOTECH = Industry(
    suffixes=("Therapeutics", "Biosciences", "Pharma"),
    revenue="product revenue",
    cost="cost of products",
    gross_name="gross profit",
    opex="research and selling expenses",
    scale=(120, 2400),
    gross=(0.74, 0.88),
    operating=(-0.19, 0.24),
    capex=(0.02, 0.07),
    price_word="net price of a course",
    price=(7400, 29_500),
    price_form="${:,.0f}",
    volume_form="{:,.1f} thousand patients",
    per_million=1000.0,
    k1=(240, 920, 90, "{:,.0f}"),
    k2=(2100, 9800, 900, "{:,.0f}"),
    words="""
    segment: Rare Disease / newly diagnosed patients and longer treatment / slower referrals
    segment: Immunology / coverage by two more insurers / rebates to hospital groups
    segment: Dermatology / a new once-monthly form / the first generic competitor
    segment: Royalties / partner sales in Japan / the expiry of a licensed patent
    segment: Contract Manufacturing / a second filling line / batches moved into the next period
    up: wider insurance coverage of the lead product
    up: new prescribers outside the large clinics
    up: the launch of the pre-filled pen
    up: a higher share of patients who stay on treatment
    down: the first generic competitor in dermatology
    down: larger rebates to hospital groups
    down: a supply gap at a filling contractor
    down: slower patient starts over the holidays
    margin_up: better yields in the cell-culture plant
    margin_up: a richer mix of self-administered forms
    margin_down: written-off batches and higher royalties owed
    margin_down: larger rebates under government programs
    point: The phase 3 study treated {k1} patients on {end_date}, {k1_from} a year earlier.
    point: {k2} physicians prescribed the lead product, {k2_from} in {year_ago}.
    point: Treated patients {volume_moved} to {volume}, at a net price of {price} per course.
    point: [A data monitoring committee|An independent committee] reviewed the study and [advised to
      continue without change|found no reason to alter the protocol].
    point: A marketing application for the second indication was [filed|accepted for review], with a
      decision expected in {guide_year}.
    point: Cash and committed funds are [thought|expected] to [finance|carry] the development plan
      for at least {term} years.
    risk: A failure of the phase 3 study would [call into question|put at risk] a program on which
      {claim} has been spent so far.
    risk: Price negotiations with public insurers could reduce revenue by up to {rule_cost} a year
      from {maturity} on.
    """,
)

UTILITY = Industry(
    suffixes=("Power & Water", "Energy", "Electric"),
    revenue="operating revenue",
    cost="fuel and purchased power",
    gross_name="net energy margin",
    opex="operating expenses",
    scale=(600, 6400),
    gross=(0.52, 0.68),
    operating=(0.15, 0.25),
    capex=(0.17, 0.31),
    price_word="rate",
    price=(92, 151),
    price_form="${:,.2f} per MWh",
    volume_form="{:,.0f} gigawatt-hours",
    per_million=1000.0,
    k1=(62, 141, 18, "{:.0f} minutes"),
    k2=(22, 58, 5, "{:.1f}%"),
    words="""
    segment: Electric Distribution / new rates and data-center connections / mild weather
    segment: Gas Networks / colder weeks in the north / customers switching to heat pumps
    segment: Water Services / a dry summer and new rates / restrictions on sprinkling
    segment: Renewables / two solar parks entering service / low wind speeds
    segment: Transmission / a larger asset base / a delayed interconnector
    up: new rates that took effect in January
    up: the connection of two large data centers
    up: a hot summer with high cooling demand
    up: a larger rate base in transmission
    down: mild weather in the service area
    down: an outage at the Millbrook plant
    down: low wind speeds
    down: a delayed decision on the rate case
    margin_up: lower prices for purchased gas
    margin_up: more output from own solar parks
    margin_down: costly replacement power
    margin_down: fuel costs that can be recovered only next year
    point: The average customer was without power for {k1} in the past twelve months, {k1_from} a
      year earlier.
    point: Renewable sources provided {k2} of generation, {k2_from} in {year_ago}.
    point: Deliveries {volume_moved} to {volume}, and the average rate was {price} after
      {price_prior}.
    point: Storm repairs cost {rule_cost}, [most of which may be recovered|part of which is deferred
      for recovery] through rates.
    point: Smart meters [have been installed|are in place] at {large_share} of connections, and the
      program remains on budget.
    point: Requests to connect data centers add up to {small_share} of today's peak load, of which
      [a third|half] is under contract.
    risk: The pending rate case seeks {claim}, and staff of the commission have recommended
      [somewhat less|about two thirds of it].
    risk: Wildfire and storm liabilities may exceed the insured amount of {claim} in a severe year.
    """,
)

BANKING = Industry(
    suffixes=("Bancorp", "Financial", "Savings Bank"),
    revenue="total net revenue",
    cost="provision for credit losses",
    gross_name="revenue after provisions",
    opex="non-interest expenses",
    scale=(260, 4200),
    gross=(0.88, 0.955),
    operating=(0.24, 0.38),
    capex=(0.02, 0.04),
    price_word="revenue yield",
    price=(3.4, 5.1),
    price_form="{:.2f}%",
    volume_form="${:,.0f} million in earning assets",
    per_million=100.0,
    k1=(11.2, 14.1, 0.7, "{:.1f}%"),
    k2=(0.18, 0.74, 0.14, "{:.2f}%"),
    words="""
    segment: Retail Banking / higher deposit margins / competition for savings
    segment: Commercial Lending / new loans to mid-sized firms / early repayments
    segment: Wealth Management / rising asset values and net inflows / lower transaction fees
    segment: Mortgage / a revival of refinancing / few homes changing hands
    segment: Treasury Services / larger balances from business clients / falling short-term rates
    up: growth in loans to mid-sized companies
    up: deposit costs that fell faster than asset yields
    up: net inflows in wealth management
    up: the reinvestment of maturing bonds at higher yields
    down: pressure on net interest margin from lower short-term rates
    down: fewer new loans to property developers
    down: competition for deposits
    down: weak mortgage activity
    margin_up: releases from the allowance for commercial loans
    margin_up: a better credit quality in the card portfolio
    margin_down: provisions for two office properties
    margin_down: higher write-offs on consumer loans
    point: Net charge-offs were {k2} of average loans, {k2_from} in {year_ago}.
    point: Deposits stood at {deposits} on {end_date}, of which {large_share} is insured.
    point: The bank opened [three|two|four] branches and closed [five|six|two]; {large_share} of
      payments are now made in the mobile application.
    point: Earning assets {volume_moved} to {volume}, and yielded {price} in revenue, after
      {price_prior}.
    point: Loans to owners of office buildings make up {small_share} of the portfolio and carry a
      reserve of {allowance}.
    point: Fees from cards, advice and payments [provided|made up] {middle_share} of total net
      revenue.
    risk: A fall of one percentage point in short-term rates would lower annual net interest income
      by {rate_cost}.
    risk: Final capital rules could raise risk-weighted assets by {small_share} and would be met
      from retained earnings.
    """,
    kind="bank",
)

MACHINERY = Industry(
    suffixes=("Industries", "Machine Works", "Hydraulics"),
    revenue="net sales",
    cost="cost of sales",
    gross_name="gross profit",
    opex="selling and engineering expenses",
    scale=(340, 5200),
    gross=(0.25, 0.38),
    operating=(0.06, 0.17),
    capex=(0.025, 0.06),
    price_word="selling price",
    price=(18_500, 92_000),
    price_form="${:,.0f}",
    volume_form="{:,.0f} units",
    per_million=1_000_000,
    k1=(0.88, 1.14, 0.11, "{:.2f}"),
    k2=(27, 46, 3, "{:.1f}%"),
    words="""
    segment: Construction Equipment / public works and rental fleets / full dealer yards
    segment: Agricultural Systems / orders for precision planters / low crop prices
    segment: Aftermarket and Service / a larger installed base under contract / fewer machine hours
    segment: Fluid Power / demand from wind and marine customers / destocking by distributors
    segment: Factory Automation / reshoring of assembly work / postponed investment by car makers
    up: a larger installed base that needs parts and service
    up: public spending on roads and bridges
    up: price increases that held
    up: orders from rental companies
    down: destocking by dealers
    down: weak farm incomes
    down: postponed investment by car makers
    down: a shortage of castings in the first weeks
    margin_up: lower steel prices and better use of capacity
    margin_up: a larger share of parts and service
    margin_down: underused plants and a poorer mix
    margin_down: warranty costs on a new series
    point: The ratio of orders to sales was {k1}, {k1_from} a year earlier.
    point: Repeat customers placed {k2} of orders, {k2_from} in {year_ago}.
    point: Shipments {volume_moved} to {volume}, at an average price of {price} after {price_prior}.
    point: The order backlog of {backlog} [covers|equals] [four|five|six] months of production.
    point: Lead times for [hydraulic pumps|control units|large castings] came down to
      {receivable_days} days, and overtime was reduced.
    point: A [third|fourth] assembly line in [Monterrey|Katowice|Knoxville] started on schedule and
      will reach full output in {guide_year}.
    risk: Dealer inventories, which are {small_share} above their usual level, could lead to more
      production cuts.
    risk: Tariffs on steel and components would add {rule_cost} a year to costs if they stay in
      force.
    """,
)

FOOD = Industry(
    suffixes=("Foods", "Provisions", "Mills"),
    revenue="net sales",
    cost="cost of products sold",
    gross_name="gross profit",
    opex="marketing and overhead expenses",
    scale=(420, 6100),
    gross=(0.24, 0.37),
    operating=(0.05, 0.15),
    capex=(0.025, 0.055),
    price_word="price",
    price=(1850, 3450),
    price_form="${:,.0f} per tonne",
    volume_form="{:,.0f} thousand tonnes",
    per_million=1000.0,
    k1=(93.8, 98.9, 1.8, "{:.1f}%"),
    k2=(8, 23, 1.1, "{:.1f}%"),
    words="""
    segment: Breakfast / a new range without added sugar / private labels
    segment: Snacks / wider distribution in convenience stores / smaller pack sizes
    segment: Frozen Meals / promotions that brought back lapsed buyers / full freezers at retailers
    segment: Food Service / new contracts with school caterers / fewer restaurant visits
    segment: Pet Care / the premium wet line / a recall by a supplier
    up: a return to volume growth after two years of price increases
    up: new listings at a national discounter
    up: demand for high-protein snacks
    up: larger orders from caterers
    down: the advance of private labels
    down: a retailer's decision to reduce its stocks
    down: lower household spending on branded food
    down: a three-week stop at the Harlow bakery
    margin_up: cheaper oats, oil and packaging
    margin_up: savings from two closed lines
    margin_down: the record price of cocoa
    margin_down: higher trade spending and freight
    point: {k1} of cases were delivered on time and in full, {k1_from} in {year_ago}.
    point: The value share in the core categories was {k2}, {k2_from} a year earlier.
    point: Tonnage {volume_moved} to {volume}, and the average price was {price} after
      {price_prior}.
    point: Innovation less than three years old [brought in|stood for] {small_share} of net sales.
    point: The company spent {small_share} of net sales on advertising, [more than|about as much as]
      a year ago, [most of it online|with an emphasis on the launch season].
    point: Reformulated recipes, [with less salt|with less sugar|without colorings], now account for
      {large_share} of tonnage.
    risk: Cocoa, wheat and vegetable oil are covered for {large_share} of the needs of the next six
      months; beyond that, prices are open.
    risk: Negotiations with [two|three] large retailers are due, and a delisting would put
      {rule_cost} of annual operating income at risk.
    """,
)

INDUSTRIES = (RETAIL, SHIPPING, SOFTWARE, BIOTECH, UTILITY, BANKING, MACHINERY, FOOD)
