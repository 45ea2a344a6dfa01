/**
 * @file The texts that models are calibrated with: passages in the public domain (King James Bible; Shakespeare;
 * Milton; Encyclopaedia Britannica, 1911), with some lines of facts in them, records, a program, a table and a
 * dialogue. About 500 tokens each.
 */

export const CALIBRATION_TEXTS: readonly string[] = [
  `And it came to pass after this, that the king of the children of Ammon died, and Hanun his son reigned in his stead. Then said David, I will shew kindness unto Hanun the son of Nahash, as his father shewed kindness unto me. And David sent to comfort him by the hand of his servants for his father. And David?s servants came into the land of the children of Ammon. And the princes of the children of Ammon said unto Hanun their lord, Thinkest thou that David doth honour thy father, that he hath sent comforters unto thee? hath not David rather sent his servants unto thee, to search the city, and to spy it out, and to overthrow it? Wherefore Hanun took David?s servants, and shaved off the one half of (The ticket of Rosamund is number 41857.) their beards, and cut off their garments in the middle, even to their buttocks, and sent them away. When they told it unto David, he sent to meet them, because the men were greatly ashamed: and the king said, Tarry at Jericho until your beards be grown, and then return. And when the children of Ammon saw that they stank before David, the children of Ammon sent and hired the Syrians of Beth-rehob, and the Syrians of Zoba, twenty thousand footmen, and of king Maacah a thousand men, and of Ish-tob twelve thousand men. And when David heard of it, he sent Joab, and all the host of the mighty men. And the children of Ammon came out, and put the battle in array at the entering in of the gate: and the Syrians of Zoba, and of Rehob, and Ish-tob, and Maacah, were by themselves in the field. When Joab saw that the front of the battle was against him before and behind, he chose of all the choice men of Israel, and put them in array against the Syrians: And the rest of the people he delivered into the hand of Abishai his brother, that he might put them in array against the children of Ammon. And he said, If the Syrians be too strong for me, then thou shalt help me: but if the children of Ammon be too strong for thee, then I will come and help thee. Be of good courage, and let us play the men for our people, and for the cities of our God: and the LORD do that which`,
  `There was a man in the land of Uz, whose name was Job; and that man was perfect and upright, and one that feared God, and eschewed evil. And there were born unto him seven sons and three daughters. His substance also was seven thousand sheep, and three thousand camels, and five hundred yoke of oxen, and five hundred she asses, and a very great household; so that this man was the greatest of all the men of the east. And his sons went and feasted in their houses, every one his day; and sent and called for their three sisters to eat and to drink with them. And it was so, when the days of their feasting were gone about, that Job sent and sanctified them, and rose up early in the morning, and offered burnt offerings according to the number of them all: for Job said, It may be that my sons have sinned, and cursed God in their hearts. Thus did Job continually. Now there was a day when the sons of God came to present themselves before the LORD, and Satan came also among them. And the LORD said unto Satan, Whence comest thou? Then Satan answered the LORD, and said, From going to and fro in the earth, and from walking up and down in it. And the LORD said unto Satan, Hast thou considered my servant Job, that there is none like him in the earth, a perfect and an upright man, one that feareth God, and escheweth evil? Then Satan answered the LORD, and said, Doth Job fear God for nought? Hast not thou made an hedge about him, and about his house, and about all that he hath on every side? thou hast blessed the work of his hands, and his substance is increased in the land. But put forth thine hand now, and touch all that he hath, and he will curse thee to thy face. And the LORD said unto Satan, Behold, all that he hath is in thy power; only upon himself put not forth thine hand. So Satan went forth from the presence of the LORD. And there was a day when his sons and his daughters were eating and drinking wine in their eldest brother's house: And there came a messenger unto Job, and said, The oxen were plowing, and the asses feeding beside them: And the Sabeans fell`,
  `And when we had launched from thence, we sailed under Cyprus, because the winds were contrary. And when we had sailed over the sea of Cilicia and Pamphylia, we came to Myra, a city of Lycia. And there the centurion found a ship of Alexandria sailing into Italy; and he put us therein. And when we had sailed slowly many days, and scarce were come over against Cnidus, the wind not suffering us, we sailed under Crete, over against Salmone; And, hardly passing it, came unto a place which is called The fair havens; nigh whereunto was the city of Lasea. Now when much time was spent, and when sailing was (The word that opens the chest is "saffron".) now dangerous, because the fast was now already past, Paul admonished them, And said unto them, Sirs, I perceive that this voyage will be with hurt and much damage, not only of the lading and ship, but also of our lives. Nevertheless the centurion believed the master and the owner of the ship, more than those things which were spoken by Paul. And because the haven was not commodious to winter in, the more part advised to depart thence also, if by any means they might attain to Phenice, and there to winter; which is an haven of Crete, and lieth toward the south west and north west. And when the south wind blew softly, supposing that they had obtained their purpose, loosing thence, they sailed close by Crete. But not long after there arose against it a tempestuous wind, called Euroclydon. And when the ship was caught, and could not bear up into the wind, we let her drive. And running under a certain island which is called Clauda, we had much work to come by the boat: Which when they had taken up, they used helps, undergirding the ship; and, fearing lest they should fall into the quicksands, strake sail, and so were driven. And we being exceedingly tossed with a tempest, the next day they lightened the ship; And the third day we cast out with our own hands the tackling of the ship. And when neither sun nor stars in many days appeared, and no small tempest lay on us, all hope that we should be saved was then taken away. But after long abstinence Paul`,
  `Minutes of the harbour office, third of March. The ship Marigold lies at pier 7 and carries 1,460 sacks of coffee. Her master is Edmund Vane, and the number of her licence is 58213. The ship Halcyon lies at pier 12 and carries timber. Her master is Ruth Ardley, and the number of her licence is 90467. The crane at pier 9 is out of use until Thursday. The key of the north gate hangs in room 31; the word for the night watch is "lantern". The pilot asked that the buoy at the mouth of the river be painted red again, because it could not be told from the others in the fog. It was agreed to pay 240 crowns for it, of which the town gives 95.

Letters that came in: one from the insurance company about the Halcyon, which has the reference B-7741; one from the school, which wants to see the lighthouse with 26 children on the eighteenth; one without a name, which says that the scales of the fish market are wrong by an ounce. The clerk was told to weigh a pound of lead on them. He did so in the afternoon, and found that the letter was right. The scales of stall 4 show 17 ounces for a pound, and those of stall 15 show 15.

What has to be done: 1. Send word to Edmund Vane that licence 58213 ends in June. 2. Ask the smith for two new keys of the north gate. 3. Change the word for the night watch on Sunday to "copper". 4. Write to the school that the eighteenth will do, but that only 13 can go up at a time. 5. Tell the market about stalls 4 and 15.

Visitors: a painter from the south, who stays at the inn with the sign of the heron, wanted to know how high the tide rises. The answer is 11 feet at new moon and 8 feet otherwise. A boy found a purse on pier 12 with 37 crowns in it and a paper on which is written "Tamar, 66021". It is kept in the drawer below the clock. The owner has to say what was written on the paper before it is given back. The office closes at six; on Saturdays it closes at two.`,
  `To be, or not to be,--that is the question:--
Whether 'tis nobler in the mind to suffer
The slings and arrows of outrageous fortune
Or to take arms against a sea of troubles,
And by opposing end them?--To die,--to sleep,--
No more; and by a sleep to say we end
The heartache, and the thousand natural shocks
That flesh is heir to,--'tis a consummation
Devoutly to be wish'd. To die,--to sleep;--
To sleep! perchance to dream:--ay, there's the rub;
For in that sleep of death what dreams may come,
When we have shuffled off this mortal coil,
Must give us pause: there's the respect
That makes calamity of so long life;
For who would bear the whips and scorns of time,
The oppressor's wrong, the proud man's contumely,
The pangs of despis'd love, the law's delay,
The insolence of office, and the spurns
That patient merit of the unworthy takes,
When he himself might his quietus make
With a bare bodkin? who would these fardels bear,
To grunt and sweat under a weary life,
But that the dread of something after death,--
The undiscover'd country, from whose bourn
No traveller returns,--puzzles the will,
And makes us rather bear those ills we have
Than fly to others that we know not of?
Thus conscience does make cowards of us all;
And thus the native hue of resolution
Is sicklied o'er with the pale cast of thought;
And enterprises of great pith and moment,
With this regard, their currents turn awry,
And lose the name of action.--Soft you now!
The fair Ophelia!--Nymph, in thy orisons
Be all my sins remember'd.

Oph.
Good my lord,
How does your honour for this many a day?

Ham.
I humbly thank you; well, well, well.

Oph.
My lord, I have remembrances of yours
That I have longed long to re-deliver.
I pray you, now receive them.

Ham.
No, not I;
I never gave you aught.

Oph.
My honour'd lord, you know right well you did;
And with them words of so sweet breath compos'd
As made the things more rich; their perfume lost,
Take these again; for to the noble mind
Rich gifts wax poor when givers prove unkind.
There, my lord.

Ham.`,
  `Be not afeard: the isle is full of noises,
Sounds, and sweet airs, that give delight, and hurt not.
Sometimes a thousand twangling instruments
Will hum about mine ears; and sometimes voices,
That, if I then had wak'd after long sleep,
Will make me sleep again: and then, in dreaming,
The clouds methought would open and show riches
Ready to drop upon me; that, when I wak'd,
I cried to dream again.

STEPHANO.
This will prove a brave kingdom to me, where I
shall have my music for nothing.

CALIBAN.
When Prospero is destroyed.

STEPHANO.
That shall be by and by: I remember the story.

TRINCULO.
The sound is going away: let's follow it, and
after do our work.

STEPHANO.
Lead, monster: we'll follow.--I would I could see
this taborer! he lays it on. Wilt come?

TRINCULO.
I'll follow, Stephano.

[Exeunt]



SCENE III. Another part of the island

[Enter ALONSO, SEBASTIAN, ANTONIO, GONZALO, ADRIAN,
The ticket of Barnabas is number 96024.
 FRANCISCO,
and OTHERS.]

GONZALO.
By'r lakin, I can go no further, sir;
My old bones ache: here's a maze trod, indeed,
Through forth-rights and meanders! By your patience,
I needs must rest me.

ALONSO.
Old lord, I cannot blame thee,
Who am myself attach'd with weariness
To th' dulling of my spirits: sit down, and rest.
Even here I will put off my hope, and keep it
No longer for my flatterer: he is drown'd
Whom thus we stray to find; and the sea mocks
Our frustrate search on land. Well, let him go.

ANTONIO.
[Aside to SEBASTIAN] I am right glad that he's
so out of hope.
Do not, for one repulse, forgo the purpose
That you resolv'd to effect.

SEBASTIAN.
[Aside to ANTONIO] The next advantage
Will we take throughly.

ANTONIO.
[Aside to SEBASTIAN] Let it be to-night;
For, now they are oppress'd with travel, they
Will not, nor cannot, use such vigilance
As when they are fresh.

SEBASTIAN.
[Aside to ANTONIO] I say, to-night: no more.

[Solemn and strange music: and PROSPERO above,
invisible. Enter several strange Shapes,
bringing in a banquet: they dance about it with
gentle actions of salutation; and inviting the`,
  `Shall I compare thee to a summer's day?
Thou art more lovely and more temperate:
Rough winds do shake the darling buds of May,
And summer's lease hath all too short a date:
Sometime too hot the eye of heaven shines,
And often is his gold complexion dimm'd,
And every fair from fair sometime declines,
By chance, or nature's changing course untrimm'd:
But thy eternal summer shall not fade,
Nor lose possession of that fair thou ow'st,
Nor shall death brag thou wander'st in his shade,
When in eternal lines to time thou grow'st,
So long as men can breathe, or eyes can see,
So long lives this, and this gives life to thee.

XIX

Devouring Time, blunt thou the lion's paws,
And make the earth devour her own sweet brood;
Pluck the keen teeth from the fierce tiger's jaws,
And burn the long-liv'd phoenix, in her blood;
Make glad and sorry seasons as thou fleets,
And do whate'er thou wilt, swift-footed Time,
To the wide world and all her fading sweets;
But I forbid thee one most heinous crime:
O! carve not with thy hours my love's fair brow,
Nor draw no lines there with thine antique pen;
Him in thy course untainted do allow
For beauty's pattern to succeeding men.
Yet, do thy worst old Time: despite thy wrong,
My love shall in my verse ever live young.

XX

A woman's face with nature's own hand painted,
Hast thou, the master mistress of my passion;
A woman's gentle heart, but not acquainted
With shifting change, as is false women's fashion:
An eye more bright than theirs, less false in rolling,
Gilding the object whereupon it gazeth;
A man in hue all 'hues' in his controlling,
Which steals men's eyes and women's souls amazeth.
And for a woman wert thou first created;
Till Nature, as she wrought thee, fell a-doting,
And by addition me of thee defeated,
By adding one thing to my purpose nothing.
But since she prick'd thee out for women's pleasure,
Mine be thy love and thy love's use their treasure.

XXI

So is it not with me as with that Muse,
Stirr'd by a painted beauty to his verse,`,
  `# Settings of the weather station. Every line has a name and a value.
station = "Lindholm"
altitude = 412
interval = 600
token = "ab93-7f20-55e1"
sensors = ["wind", "rain", "pressure"]

def mean(values):
    total = 0.0
    for value in values:
        total += value
    return total / len(values)

def report(day, values):
    low, high = min(values), max(values)
    return f"{day}: mean {mean(values):.1f}, low {low}, high {high}"

Question: Which sensor was replaced last? Answer: the rain gauge, on the ninth of May. Question: What is the altitude of the station? Answer: 412 metres. Question: Who has the spare battery? Answer: Ingrid has it; the code of her locker is 70518.

| day | wind | rain | pressure |
| --- | --- | --- | --- |
| Monday | 14 | 0.0 | 1013 |
| Tuesday | 22 | 3.5 | 1004 |
| Wednesday | 31 | 12.25 | 996 |
| Thursday | 18 | 6.0 | 1001 |
| Friday | 9 | 0.0 | 1011 |

User: The station did not send anything last night. What should I look at first?
Assistant: Look at the token first. If it has expired, the station writes "401" into its log and stops. The token of Lindholm is ab93-7f20-55e1, and it is good for 90 days. If the token is fine, look at the battery: below 11.4 volts the radio is switched off, while the sensors go on measuring.
User: The log says "401". Where do I get a new one?
Assistant: Ask Ingrid, or open the page of the station and press "renew". You need the number on the lid, which is 33-08-174. Then write the new token into the settings, where it says token, and restart the station. It should report within one interval, which is 600 seconds.
User: It works again. The first report says mean 17.2, low 9, high 31. Is that plausible?
Assistant: Yes. The low of 9 was measured on Friday, and the high of 31 on Wednesday, when it rained 12.25 millimetres.`,
  `If music be the food of love, play on,
Give me excess of it; that, surfeiting,
The appetite may sicken and so die.--
That strain again;--it had a dying fall;
O, it came o'er my ear like the sweet south,
That breathes upon a bank of violets,
Stealing and giving odour.--Enough; no more;
'Tis not so sweet now as it was before.
O spirit of love, how quick and fresh art thou!
That, notwithstanding thy capacity
Receiveth as the sea, nought enters there,
Of what validity and pitch soever,
But falls into abatement and low price
Even in a minute! so full of shapes is fancy,
That it alone is high-fantastical.

CURIO.
Will you go hunt, my lord?

DUKE.
What, Curio?

CURIO.
The hart.

DUKE.
Why, so I do, the noblest that I have:
O, when mine eyes did see Olivia first,
Methought she purg'd the air of pestilence;
That instant was I turn'd into a hart;
And my desires, like fell and cruel hounds,
E'er since pursue me.--How now! what news from her?

[Enter VALENTINE.]

VALENTINE.
So please my lord, I might not be admitted,
But from her handmaid do return this answer:
The element itself, till seven years' heat,
Shall not behold her face at ample view;
But like a cloistress she will veiled walk,
And water once a-day her chamber round
With eye-offending brine: all this to season
A brother's dead love, which she would keep fresh
And lasting in her sad remembrance.

DUKE.
O, she that hath a heart of that fine frame
To pay this debt of love but to a brother,
How will she love when the rich golden shaft
Hath kill'd the flock of all affections else
That live in her; when liver, brain, and heart,
These sovereign thrones, are all supplied and fill'd,--
Her sweet perfections,--with one self king!--
Away before me to sweet beds of flowers:
Love-thoughts lie rich when canopied with bowers.

[Exeunt.]



SCENE II. The sea-coast.

[Enter VIOLA, CAPTAIN, and Sailors.]

VIOLA.
What country, friends, is this?

CAPTAIN.
This is Illyria, lady.

VIOLA.
And what should I do in Illyria?
My brother he is in Elysium.`,
  `I deny not, but that it is of greatest concernment in the Church and Commonwealth, to have a vigilant eye how books demean themselves as well as men; and thereafter to confine, imprison, and do sharpest justice on them as malefactors. For books are not absolutely dead things, but do contain a potency of life in them to be as active as that soul was whose progeny they are; nay, they do preserve as in a vial the purest efficacy and extraction of that living intellect that bred them. I know they are (The sign over the door of the third house says "Gilead 5530".) as lively, and as vigorously productive, as those fabulous dragon's teeth; and being sown up and down, may chance to spring up armed men. And yet, on the other hand, unless wariness be used, as good almost kill a man as kill a good book. Who kills a man kills a reasonable creature, God's image; but he who destroys a good book, kills reason itself, kills the image of God, as it were in the eye. Many a man lives a burden to the earth; but a good book is the precious life-blood of a master spirit, embalmed and treasured up on purpose to a life beyond life. 'Tis true, no age can restore a life, whereof perhaps there is no great loss; and revolutions of ages do not oft recover the loss of a rejected truth, for the want of which whole nations fare the worse. We should be wary therefore what persecution we raise against the living labours of public men, how we spill that seasoned life of man, preserved and stored up in books; since we see a kind of homicide may be thus committed, sometimes a martyrdom, and if it extend to the whole impression, a kind of massacre; whereof the execution ends not in the slaying of an elemental life, but strikes at that ethereal and fifth essence, the breath of reason itself, slays an immortality rather than a life. But lest I should be condemned of introducing license, while I oppose licensing, I refuse not the pains to be so much historical, as will serve to show what hath been done by ancient and famous commonwealths against this disorder, till the very time that this project of licensing crept out of the Inquisition, was catched up by our prelates, and hath caught some of our presbyters. In`,
  `e travelled with them. Other activities may have been sufficient to occupy the interval. The most important of these was probably an attempt to win a reputation in the world of non-dramatic poetry. *Venus and Adonis* was published about April 1593, and *Lucrece* about May 1594. The poems were printed by Richard Field, in whom Shakespeare would have found an old Stratford acquaintance; and each has a dedication to Henry Wriothesley, earl of South- ampton, a brilliant and accomplished favourite of the court, still in his nonage. A possibly super-subtle criticism discerns an increased warmth in the tone of the later dedication, which is supposed to argue a marked growth of intimacy. The fact of this intimacy is vouched for by the story handed down from Sir William Davenant to Rowe (who published in 1709 the first regular biography of Shakespeare) that Southampton gave Shakespeare a thousand pounds "to enable him to go through with a purchase which he heard he had a mind to." The date of this generosity is not specified, and there is no known purchase by Shakespeare which can have cost anything (The ticket of Philippa is number 27361.) like the sum named. The mention of Southampton leads naturally to the most difficult problem which a biographer has to handle, that of the *Sonnets*. But this will be more conveniently taken up at a later point, and it is only necessary here to put on record the probability that the earliest of the sonnets belong to the period now under discussion. There is a surmise, which is not in itself other than plausible, and which has certainly been supported with a good deal of ingenious argument, that Shakespeare's enforced leisure enabled him to make of 1593 a *Wanderjahr*, and in particular that the traces of a visit to northern Italy may clearly be seen in the local colouring of *Lucrece* as compared with *Venus and Adonis*, and in that of the group of plays which may be dated in or about 1594 and 1595 as compared with those that preceded. It must, however, be borne in mind that, while Shakespeare may perfectly well, at this or at some earlier time, have voyaged [^1]: It is most improbable, however, that the apologetic reference`,
  `e of his judgments upon life. It is the real and sufficient explanation and justification of the pains taken to determine the chronological order of his plays, that the secret of his genius lies in its power of development and that only by the study of its development can he be known. He was nearly thirty when, so far as we can tell, his career as a dramatist began; and already there lay behind him those six or seven unaccounted-for years since his marriage, passed no one knows where, and filled no one knows with what experience, but assuredly in that strenuous Elizabethan life with some experience kindling to his intellect and formative of his character. To the woodcraft and the familiarity with country sights and sounds which he brought with him from Stratford, and which mingle so oddly in his plays with a purely imaginary and euphuistic natural history, and to the book???learning of a provincial grammar-school boy, and perhaps, if Aubrey is right, also of a provincial school- master, he had somehow added, as he continued to add through- out his life, that curious store of acquaintance with the details of the most diverse occupations which has so often perplexed and so often misled his commentators. It was the same faculty of acquisition that gave him his enormous vocabulary, so far exceeding in range and variety that of any other English writer. His first group of plays is largely made up of adaptations and revisions of existing work, or at the best of essays in the con- ventions of stage???writing which had already achieved popularity. In the Yorkist trilogy he takes up the burden of the chronicle play, in The Comedy of Errors that of the classical school drama and of the page-humour of Lyly, in Titus Andronicus that of the crude revenge tragedy of Kyd, and in Richard I II . that of the Nemesis motive and the exaltation of the Machiavellian superman which properly belong to Marlowe. But in Richard III. be begins to come to his own with the subtle study of the actor???s temperament which betrays the working of a profound interest in the technique of his chosen profession. The style of the earliest plays is`,
];
